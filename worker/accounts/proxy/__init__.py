"""The consent proxy: codes, grants and data for other services."""
