"""Running work on threads, processes, GPUs or a cluster."""
