"""Plan templates (JSON), filled in for a data set by `maseg plan`."""
