"""Tests of L{pycyrus.imap.wire}."""
