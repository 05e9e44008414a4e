"""What MasegTrainer is made of: patches, augmentation, losses, early stopping."""
