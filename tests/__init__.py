"""A package, so that no other one of this name among the installed ones is taken for it."""
