"""A DICOM node that receives mammograms and sends DICOM Segmentation objects."""
