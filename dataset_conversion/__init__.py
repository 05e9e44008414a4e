"""Vendor data sets to nnU-Net raw format."""
