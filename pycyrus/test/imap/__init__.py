"""Tests of imap."""
