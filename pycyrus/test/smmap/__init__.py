"""Socket maps."""
