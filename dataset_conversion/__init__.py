"""Convert the data sets of vendors and public archives to nnU-Net's raw format."""
