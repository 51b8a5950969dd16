"""LMTP (RFC 2033)."""
