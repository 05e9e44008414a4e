"""The parts of MasegTrainer: patches, augmentation, losses, early stopping, the picture of the progress."""
