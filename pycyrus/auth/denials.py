"""Who is denied which service: C{user_deny.db}, as Cyrus writes it."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from twisted.logger import Logger

LARGEST = 16 * 1024 * 1024
"""Octets of the file that are read."""

_TWOSKIP = b"\xa1\x02\x8b\x0dtwoskip"
_SKIPLIST = b"\xa1\x02\x8b\x0dskiplist"
_ESCAPED = re.compile(rb"\xff(.)", re.DOTALL)


class Denials:
    """
    The file, read again when it changes.

    A line has the user id, TAB, the version C{2}, TAB, patterns of service names with
    commas between them, TAB, and a message for the administrator.
    """

    log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = b"\n"
        self._seen: tuple[int, int, int] | None = None

    def is_denied(self, user_id: str, service: str) -> bool:
        """
        Whether somebody may not use a service, or any service.

        @param service: Its name in cyrus.conf.
        """
        self._look()
        if len(self._content) < 2:
            return False
        mark = b"\n" + _escape(user_id.encode("utf-8")) + b"\t"
        start = self._content.find(mark)
        if start < 0:
            return False
        start += len(mark)
        end = self._content.find(b"\n", start)
        value = _unescape(self._content[start:end].rstrip(b"\r"))
        version, _, rest = value.partition(b"\t")
        patterns = rest.partition(b"\t")[0].decode("utf-8", "replace")
        if version != b"2" or not patterns.strip():
            self.log.error("{path}: cannot read the entry of {user}", path=str(self._path), user=user_id)
            return False
        return matches(patterns, service)

    def _look(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            with self._path.open("rb") as file:
                content = file.read(LARGEST)
        except FileNotFoundError:
            self._seen, self._content = None, b"\n"
            return
        except OSError as error:
            # What was read before goes on to hold.
            self.log.error("cannot read {path}: {error}", path=str(self._path), error=error.strerror)
            return
        self._seen = seen
        if content.startswith((_TWOSKIP, _SKIPLIST)):
            self.log.error(
                "{path} is not a flat file, so nobody is denied anything; convert it with cvt_cyrusdb",
                path=str(self._path),
            )
            content = b""
        self._content = b"\n" + content + (b"" if content.endswith(b"\n") else b"\n")


def matches(patterns: str, service: str) -> bool:
    """
    Whether patterns mean a service: the last that fits decides, and C{!} says that it does not.

    @param patterns: C{*,!pop3}, or C{imap}.
    """
    for pattern in reversed(patterns.split(",")):
        pattern = pattern.strip()
        is_not = pattern.startswith("!")
        if fnmatchcase(service, pattern[1:] if is_not else pattern):
            return not is_not
    return False


def _escape(text: bytes) -> bytes:
    """As Cyrus writes NUL, TAB, CR, LF and 0xFF in flat files."""
    return re.sub(rb"[\x00\t\r\n\xff]", lambda found: b"\xff" + bytes([found[0][0] | 0x80]), text)


def _unescape(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: b"\xff" if found[1] == b"\xff" else bytes([found[1][0] & 0x7F]), text)
