"""Images that are drawn: phantoms, and what augmentation draws into real ones."""
