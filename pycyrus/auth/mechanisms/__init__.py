"""SASL mechanisms, one per file."""
