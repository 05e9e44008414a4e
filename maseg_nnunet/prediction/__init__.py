"""From mammograms to masks: the segmenter, and many files through it."""
