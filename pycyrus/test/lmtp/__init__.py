"""Tests of lmtp."""
