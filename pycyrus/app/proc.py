"""
The directory of sessions, C{proc_path}: who is connected, for C{cyr_info proc} and for monitoring.

Cyrus has a file for each process, which serves one client; here it is one for each
session, named C{PID-NUMBER}, with the line that Cyrus writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from typing_extensions import override

from pycyrus.net.limits import Presence

WRITTEN_AFTER = 0.2
"""Seconds until a session is written down: what ends before costs nothing."""
_AT_LEAST = 0.05
"""Seconds between two looks for what is due, and how much later than due it may be written."""
_AT_ONCE = 0.001
"""Seconds by which a timer may be early."""

_NAME = re.compile(r"([1-9][0-9]*)(-[0-9]+)?")
_LONGEST = 4096
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Session:
    """
    A line of the directory.

    @ivar pid: Of the process that serves it.
    @ivar host: Of the client.
    @ivar user: Empty before the login.
    """

    pid: int
    service: str
    host: str
    user: str = ""
    mailbox: str = ""
    command: str = ""

    def line(self) -> str:
        """As it is in the file."""
        fields = (self.service, self.host, self.user, self.mailbox, self.command)
        return "\t".join(_UNPRINTABLE.sub("?", text) for text in fields) + "\n"

    @override
    def __str__(self) -> str:
        """As C{cyr_info proc} prints it."""
        return " ".join(filter(None, (str(self.pid), self.service, self.host, self.user, self.mailbox, self.command)))


def directory_of(proc_path: str, configdirectory: Path) -> Path:
    """Where it is."""
    return Path(proc_path) if proc_path else configdirectory / "proc"


def begin_proc_directory(proc_path: str, configdirectory: Path, clock: IReactorTime) -> ProcDirectory | None:
    """Begin to write the sessions of this process down; None where that cannot be, which is logged."""
    directory = ProcDirectory(directory_of(proc_path, configdirectory), clock)
    try:
        directory.begin()
    except OSError as error:
        ProcDirectory.log.error("sessions cannot be listed: {error}", error=str(error))
        return None
    return directory


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def sessions(directory: Path) -> Iterator[Session]:
    """Read all sessions, by process; what a process that is gone has left behind is left out."""
    found: list[tuple[int, str]] = []
    with suppress(FileNotFoundError):
        found = [(int(match[1]), match[0]) for match in map(_NAME.fullmatch, _names(directory)) if match]
    for pid, name in sorted(found):
        if not Path(f"/proc/{pid}").exists():
            continue
        try:
            with (directory / name).open(encoding="utf-8", errors="replace") as file:
                fields = file.read(_LONGEST).rstrip("\n").split("\t")
        except FileNotFoundError:
            continue  # it has ended meanwhile
        yield Session(pid, *(*fields, "", "", "", "", "")[:5])


class ProcDirectory:
    """What one process writes there; its sessions are told of by keys of the caller."""

    log = Logger()

    def __init__(self, directory: Path, clock: IReactorTime) -> None:
        self._directory = directory
        self._clock = clock
        self._sessions: dict[int, Session] = {}
        # By when each is to be written, in this order.
        self._changed: dict[int, float] = {}
        self._written: set[int] = set()
        self._failed = False
        self._timer: IDelayedCall | None = None

    def presence(self, service: str) -> Presence:
        """What a service's connections are to be told to."""
        pid = os.getpid()

        def tell(number: int, address: str, user: str | None) -> None:
            self.tell(number, None if user is None else Session(pid, service, f"[{address or 'local'}]", user))

        return tell

    def begin(self) -> None:
        """
        Make the directory, and remove what processes that are gone have left behind.

        @raise OSError: It cannot be made.
        """
        self._directory.mkdir(0o700, parents=True, exist_ok=True)
        for name in _names(self._directory):
            match = _NAME.fullmatch(name.partition(".")[0])
            if match and (int(match[1]) == os.getpid() or not Path(f"/proc/{match[1]}").exists()):
                with suppress(FileNotFoundError):
                    (self._directory / name).unlink()

    def tell(self, key: int, session: Session | None) -> None:
        """
        A session has begun or changed; None means that it has ended.

        @param key: A number of the session in this process.
        """
        if session is None:
            self._sessions.pop(key, None)
            if key not in self._written:
                # Most are over before they would have been written down.
                self._changed.pop(key, None)
                return
        else:
            self._sessions[key] = session
        self._changed.setdefault(key, self._clock.seconds() + WRITTEN_AFTER)
        if self._timer is None:
            self._timer = self._clock.callLater(WRITTEN_AFTER, self._look)

    def _look(self) -> None:
        """Write what is due."""
        self._timer = None
        now = self._clock.seconds()
        due = list(takewhile(lambda key: self._changed[key] <= now + _AT_ONCE, self._changed))
        for key in due:
            del self._changed[key]
        self._write(due)
        for when in self._changed.values():
            self._timer = self._clock.callLater(max(when - now, _AT_LEAST), self._look)
            break

    def flush(self) -> None:
        """Write all that has changed."""
        changed, self._changed = self._changed, {}
        self._write(changed)

    def _write(self, keys: Iterable[int]) -> None:
        for key in keys:
            session = self._sessions.get(key)
            path = self._directory / f"{os.getpid()}-{key}"
            try:
                if session is None:
                    self._written.discard(key)
                    path.unlink(missing_ok=True)
                else:
                    beside = path.with_name(f"{path.name}.new")
                    beside.write_text(session.line(), "utf-8")
                    beside.replace(path)
                    self._written.add(key)
            except OSError as error:
                # It serves nobody but onlookers, so it is told once.
                if not self._failed:
                    self.log.error("{path}: {error}", path=str(path), error=error.strerror)
                self._failed = True

    def end(self) -> None:
        """Remove all that is ours."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sessions.clear()
        self._changed.clear()
        self._write(list(self._written))
