"""pycyrus: a mail store for many domains, on Twisted."""

__version__ = "0.1.0"
