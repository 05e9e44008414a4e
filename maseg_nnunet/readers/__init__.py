"""Readers: file to , or a mask."""
