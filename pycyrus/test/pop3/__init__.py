"""Tests of the POP3 server."""
