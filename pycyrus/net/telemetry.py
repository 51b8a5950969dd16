"""
Telemetry: what the sessions of a user say and are told, copied to files, for an administrator who looks for a fault.

It is on for users who have a directory of their name below Cyrus's C{log}
directory.  Whatever is written there goes into the page cache, and a file that
cannot be written ends the copy, never the session.

A copy begins with the login, so that it has no passwords.  What a client that is
logged in says of passwords all the same, by mistake or behind UNAUTHENTICATE
(RFC 8437), is left out.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

_LONGEST_LINE = 8192
"""Octets of a line kept until its end comes: only whole lines can be looked at."""

_SECRET = re.compile(
    rb"^(?P<shown>(?:[^ \r\n]+ +)?(?P<verb>LOGIN|AUTHENTICATE|AUTH|PASS|APOP) +)(?P<hidden>[^\r\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
_OVER = re.compile(rb"^[^ \r\n]+ +UNAUTHENTICATE *\r?\n", re.IGNORECASE | re.MULTILINE)
_LITERAL = re.compile(rb"\{[0-9]+[+-]?\}$")
_HIDDEN = b"***"


class Telemetry:
    """
    The copies that one service of one process makes.

    @ivar log: For what goes wrong.
    """

    log = Logger()

    def __init__(
        self,
        directory: Path,
        service: str,
        *,
        by_session: bool = False,
        stamps: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param directory: Has a directory for each user who is watched.
        @param by_session: Name files after the session instead of the process (C{telemetry_bysessionid}).
        @param stamps: Tell how long ago the last thing was (C{logtimestamps}).
        """
        self._directory = directory
        self._prefix = f"{directory}/"
        self._service = service
        self._by_session = by_session
        self._stamps = stamps
        self._now = now
        self._taken: set[Path] = set()

    def begin(self, user_id: str, session_id: str) -> SessionLog | None:
        """
        Begin to copy a session.

        @return: None for users who are not watched.
        """
        # Nearly nobody is watched, so it has to be cheap to find out.
        if not user_id or "/" in user_id or user_id in (".", ".."):
            return None
        try:
            if not stat.S_ISDIR(os.stat(f"{self._prefix}{user_id}").st_mode):  # noqa: PTH116 - a Path costs more
                return None
        except (OSError, ValueError):
            return None
        path = self._path(self._directory / user_id, session_id)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            self.log.error("telemetry: {path}: {error}", path=str(path), error=error.strerror)
            return None
        self._taken.add(path)
        started = SessionLog(fd, lambda: self._taken.discard(path), self._now, stamps=self._stamps)
        started.begin(user_id)
        return started

    def _path(self, directory: Path, session_id: str) -> Path:
        """
        Where to.

        A process of Cyrus has one session at a time.  Here the second one at a time has a
        number behind the process's.
        """
        if self._by_session:
            return directory / f"{self._service}-{session_id}"
        path = directory / f"{self._service}-{os.getpid()}"
        number = 1
        while path in self._taken:
            number += 1
            path = directory / f"{self._service}-{os.getpid()}-{number}"
        return path


class SessionLog:
    """The copy of one session."""

    def __init__(self, fd: int, closed: Callable[[], None], now: Callable[[], float], *, stamps: bool) -> None:
        """
        @param fd: Of the file, which belongs to this.
        @param closed: Called at the end.
        @param stamps: See L{Telemetry}.
        """
        self._fd = fd
        self._closed = closed
        self._now = now
        self._stamps = stamps
        self._last = now()
        self._held = b""
        self._hides_next = self._is_over = False

    def begin(self, user_id: str) -> None:
        """Say whose session this is, and when it began."""
        self._write(f"---------- {user_id} {time.ctime(self._now())}\n\n".encode())

    def received(self, data: bytes) -> None:
        """Copy what the client said."""
        data = self._held + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > _LONGEST_LINE:
            end = len(data)
        data, self._held = data[:end], data[end:]
        if data and not self._is_over:
            self._mark(b"<", self._without_secrets(data))

    def sent(self, data: bytes) -> None:
        """Copy what the client was told."""
        self._mark(b">", data)

    def end(self) -> None:
        """The session is over, or another user's."""
        if self._fd < 0:
            return
        if self._held and not self._hides_next and not self._is_over:
            self._mark(b"<", self._without_secrets(self._held))
        os.close(self._fd)
        self._fd = -1
        self._closed()

    def _without_secrets(self, data: bytes) -> bytes:
        over = _OVER.search(data)
        if over is not None:
            # Somebody else's login may follow at once.
            self._is_over = True
            data = data[: over.end()]
        if not self._hides_next and _SECRET.search(data) is None:
            return data
        return b"".join(map(self._line_without_secrets, data.splitlines(keepends=True)))

    def _line_without_secrets(self, line: bytes) -> bytes:
        text = line.rstrip(b"\r\n")
        if self._hides_next:
            # Another literal of the same command, such as the password behind the user's name.
            self._hides_next = _LITERAL.search(text) is not None
            return _HIDDEN + line[len(text) :]
        found = _SECRET.match(line)
        if found is None:
            return line
        asks = found["verb"].upper() in (b"AUTHENTICATE", b"AUTH") and b" " not in found["hidden"].strip()
        self._hides_next = asks or _LITERAL.search(text) is not None
        return found["shown"] + _HIDDEN + line[len(text) :]

    def _mark(self, sign: bytes, data: bytes) -> None:
        now = self._now()
        since = b" +%.3f" % (now - self._last) if self._stamps else b""
        self._last = now
        self._write(b"%b%d%b%b" % (sign, now, since, sign) + data)

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, data)
        except OSError as error:
            Telemetry.log.error("telemetry ends: {error}", error=error.strerror)
            self.end()
