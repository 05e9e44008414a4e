"""Work on threads, processes, GPUs and a cluster."""
