"""Tests of L{pycyrus.murder}."""
