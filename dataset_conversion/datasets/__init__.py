"""One module a data set, and their registry."""
