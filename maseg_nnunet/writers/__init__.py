"""Write masks and pictures to files."""
