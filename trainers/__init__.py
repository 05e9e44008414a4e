"""MasegTrainer and its variants: the folder that nnUNet_extTrainer names."""
