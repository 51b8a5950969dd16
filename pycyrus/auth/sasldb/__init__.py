"""The database of secrets of Cyrus SASL, read without the libraries that wrote it."""
