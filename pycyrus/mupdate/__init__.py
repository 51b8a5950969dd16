"""MUPDATE: servers tell one another where mailboxes are (RFC 3656)."""
