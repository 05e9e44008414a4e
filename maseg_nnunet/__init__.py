"""Breast and pectoral muscle segmentation of mammograms, an nnU-Net v2 plugin."""
