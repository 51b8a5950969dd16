"""The octets of a message to structure, envelope and sections; one pass, no I/O."""
