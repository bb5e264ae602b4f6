"""Requests in, completions out: models, engines, the call store and the feed between them."""
