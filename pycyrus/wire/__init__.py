"""What the line protocols share; no I/O."""
