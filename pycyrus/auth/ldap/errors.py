"""What a directory can fail with."""

from __future__ import annotations


class DirectoryDown(Exception):
    """The directory cannot be asked now, for anybody; the text says why."""


class Unusable(Exception):
    """The directory's answer about one user cannot be used; the text says why."""


class Refused(Exception):
    """The directory does not let this user in; the text says why, for the log."""
