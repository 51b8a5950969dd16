"""Who is denied which service: C{user_deny.db}, as Cyrus writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from twisted.logger import Logger

LARGEST = 16 * 1024 * 1024
"""Octets of the file that are read."""

_TWOSKIP = b"\xa1\x02\x8b\x0dtwoskip"
_SKIPLIST = b"\xa1\x02\x8b\x0dskiplist"
_ESCAPED = re.compile(rb"\xff(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Denial:
    """
    One entry.

    @ivar patterns: Of service names, with commas between them.
    @ivar message: For the administrator.
    """

    patterns: str = "*"
    message: str = ""


def read(content: bytes) -> dict[str, Denial]:
    """
    Take a file apart, for commands that show or change it.

    @raise ValueError: It is not a flat file, or has an entry of another version.
    """
    if content.startswith((_TWOSKIP, _SKIPLIST)):
        raise ValueError("not a flat file; convert it with cvt_cyrusdb")
    found = {}
    for line in content.splitlines():
        user, tab, value = line.partition(b"\t")
        parts = unescape(value).split(b"\t", 2)
        if not tab or parts[0] != b"2" or len(parts) < 2:
            raise ValueError(f"cannot read the entry of {unescape(user).decode('utf-8', 'replace')}")
        texts = [part.decode("utf-8", "replace") for part in (*parts[1:], b"")]
        found[unescape(user).decode("utf-8", "replace")] = Denial(texts[0], texts[1])
    return found


def written(denials: Mapping[str, Denial]) -> bytes:
    """The file that has these entries, sorted as Cyrus wants it."""
    lines = []
    for user, denial in denials.items():
        value = f"2\t{denial.patterns}\t{denial.message}".encode("utf-8", "replace")
        lines.append(escape(user.encode("utf-8", "replace")) + b"\t" + escape(value) + b"\n")
    return b"".join(sorted(lines))


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
        mark = b"\n" + escape(user_id.encode("utf-8")) + b"\t"
        start = self._content.find(mark)
        if start < 0:
            return False
        start += len(mark)
        end = self._content.find(b"\n", start)
        value = unescape(self._content[start:end].rstrip(b"\r"))
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


def escape(text: bytes) -> bytes:
    """As Cyrus writes NUL, TAB, CR, LF and 0xFF in flat files."""
    return re.sub(rb"[\x00\t\r\n\xff]", lambda found: b"\xff" + bytes([found[0][0] | 0x80]), text)


def unescape(text: bytes) -> bytes:
    """The reverse of L{escape}."""
    return _ESCAPED.sub(lambda found: b"\xff" if found[1] == b"\xff" else bytes([found[1][0] & 0x7F]), text)
