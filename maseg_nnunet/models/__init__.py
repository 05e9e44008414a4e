"""Trained models: the packaged one, opening a model folder, importing published weights, packaging a model."""
