"""A Murder: several servers that look like one (RFC 3656, RFC 2193)."""
