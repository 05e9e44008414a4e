"""Drawn images: phantoms, and the changes that augmentation makes to real images."""
