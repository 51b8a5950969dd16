"""The directory in PostgreSQL, which any number of masters serve at once."""
