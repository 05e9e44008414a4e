"""First masks for a person to correct: by Otsu or by a model, as ITK-SNAP workspaces."""
