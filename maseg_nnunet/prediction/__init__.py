"""From mammograms to masks: the segmenter for one, the pipeline for many files, and masks of stock nnU-Net."""
