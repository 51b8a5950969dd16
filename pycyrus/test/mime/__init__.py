"""Tests of mime."""
