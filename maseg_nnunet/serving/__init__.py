"""A DICOM node: exams in, Segmentation objects out."""
