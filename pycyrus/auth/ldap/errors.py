"""What a directory can fail with, beside L{pycyrus.auth.outside.Refused} and C{Unusable}."""

from __future__ import annotations

from pycyrus.auth.outside import SourceDown


class DirectoryDown(SourceDown):
    """The directory cannot be asked now, for anybody; the text says why."""
