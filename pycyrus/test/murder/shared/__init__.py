"""The directory in PostgreSQL."""
