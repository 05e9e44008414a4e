"""Trained models: the packaged ones, opening a model folder, importing and packing one."""
