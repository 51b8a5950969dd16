"""LMTP command lines and replies (RFC 2033); no I/O."""
