"""Tests of L{pycyrus.mupdate}."""
