"""A converted data set on disk: its folders, its cases, its folds and its plans."""
