"""The grammar of IMAP: octets to values and back; no I/O."""
