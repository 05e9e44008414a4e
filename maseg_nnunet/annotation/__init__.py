"""First masks for a person to correct in ITK-SNAP, by Otsu or by a model."""
