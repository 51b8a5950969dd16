"""Telling others what happened to mail."""
