"""pycyrus: a mail store for many domains, on Twisted."""

__version__ = "0.1.0"

COMPATIBLE_VERSION = "3.6.7"
"""The release of Cyrus whose behaviour is the measure; peers look at it."""
