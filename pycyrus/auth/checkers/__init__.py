"""Credential checkers, one per source of accounts."""
