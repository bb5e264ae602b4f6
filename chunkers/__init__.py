"""Documents in, rows for a model out: readers, windows, candidates, tokens and Parquet shards; knows nothing of models."""
