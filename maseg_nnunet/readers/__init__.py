"""Readers: file to `Mammogram`, or a mask."""
