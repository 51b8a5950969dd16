"""Access tokens: who issued them, to whom, and whether they still hold (RFC 7628)."""
