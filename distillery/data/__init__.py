"""Files: written whole, read back, described."""
