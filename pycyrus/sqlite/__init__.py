"""SQLite's files: opening them, checksums of their rows, and what becomes of damaged ones."""
