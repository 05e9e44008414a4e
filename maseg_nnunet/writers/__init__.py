"""Writers: masks and pictures to files."""
