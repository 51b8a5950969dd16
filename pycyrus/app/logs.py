"""
Where the log goes besides what twistd does with it, and how workers' lines reach the master.

A worker writes its events as JSON to a pipe; the master publishes them as if
they were its own, so that every log is one log.
"""

from __future__ import annotations

import json
import logging.handlers
import os
import re
import syslog
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    InvalidLogLevelError,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsJSON,
    eventFromJSON,
    globalLogPublisher,
)
from zope.interface import implementer

from pycyrus.app.log_text import event_text
from pycyrus.config.problems import ConfigError, Problem
from pycyrus.config.settings import Settings

_FACILITIES = logging.handlers.SysLogHandler.facility_names
DEFAULT_PREFIX = "cyrus"

_PRIORITIES = {
    LogLevel.debug: syslog.LOG_DEBUG,
    LogLevel.info: syslog.LOG_INFO,
    LogLevel.warn: syslog.LOG_WARNING,
    LogLevel.error: syslog.LOG_ERR,
    LogLevel.critical: syslog.LOG_CRIT,
}


def syslog_prefix(settings: Settings) -> str:
    """What session ids and syslog lines begin with."""
    return settings.text("syslog_prefix") or DEFAULT_PREFIX


def facility_code(name: str) -> int | None:
    """The facility of syslog that a name means; None if there is none of it."""
    # local6 is meant by LOG_LOCAL6 as well.
    number = _FACILITIES.get(name.lower().removeprefix("log_"))
    return None if number is None else number << 3


@implementer(ILogObserver)
class SyslogObserver:
    """Writes events to syslog, under C{prefix/service} as Cyrus does."""

    def __init__(self, prefix: str, facility_code: int) -> None:
        self._prefix = prefix
        self._facility = facility_code
        self._ident = ""

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        text = event_text(event).replace("\n", " ")
        if not text:
            return
        ident = f"{self._prefix}/{event.get('service', 'master')}"
        if ident != self._ident:
            syslog.openlog(ident, syslog.LOG_PID, self._facility)
            self._ident = ident
        syslog.syslog(_PRIORITIES.get(event["log_level"], syslog.LOG_NOTICE), text)


_FAILURE_KEYS = frozenset({"log_failure", "log_flattened", "failure", "isError", "why"})
"""What an event has of a failure, in Twisted's form and in that of old."""


def as_line(event: LogEvent) -> bytes:
    """
    Write an event as a line of JSON.

    A failure becomes text: of what is in it, JSON would keep next to nothing.
    """
    failure = event.get("log_failure")
    if failure is not None:
        event = {key: value for key, value in event.items() if key not in _FAILURE_KEYS}
        event |= {"text": event_text(event), "traceback": failure.getTraceback()}
        event["log_format"] = "{text}\n{traceback}"
    return (eventAsJSON(event) + "\n").encode("utf-8", "backslashreplace")


@implementer(ILogObserver)
class JsonObserver:
    """Appends events to a file, a line each."""

    def __init__(self, path: Path) -> None:
        """@raise OSError: The file cannot be opened."""
        # Opened unbuffered: a crash must not take the lines about it along.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        os.write(self._file, as_line(event))


def begin(settings: Settings) -> list[ILogObserver]:
    """
    Send the log where the options say.

    @return: To be given to C{end}.
    @raise ConfigError: A log cannot be written.
    """
    observers: list[ILogObserver] = []
    predicate = cast(ILogFilterPredicate, level_predicate(settings))
    if settings.switch("log_to_syslog"):
        facility = facility_code(settings.text("syslog_facility") or "mail") or syslog.LOG_MAIL
        observer = SyslogObserver(syslog_prefix(settings), facility)
        observers.append(cast(ILogObserver, FilteringLogObserver(observer, [predicate])))
    path = settings.text("log_json")
    if path:
        try:
            json_observer = JsonObserver(Path(path))
        except OSError as error:
            mend = "name a file that the server can write"
            raise ConfigError([Problem(None, f"log_json: {path}: {error.strerror}", mend)]) from error
        observers.append(cast(ILogObserver, FilteringLogObserver(json_observer, [predicate])))
    for added in observers:
        globalLogPublisher.addObserver(added)
    return observers


def end(observers: Iterable[ILogObserver]) -> None:
    """Take observers away again."""
    for observer in observers:
        globalLogPublisher.removeObserver(observer)


def level_predicate(settings: Settings) -> LogLevelFilterPredicate:
    """Which events are worth writing: with the option C{debug}, all of them."""
    return LogLevelFilterPredicate(LogLevel.debug if settings.switch("debug") else LogLevel.info)


# --- from workers to the master ---------------------------------------------


_HELD_FOR = 0.05
"""Seconds that a worker keeps lines back, so that a busy one does not wake the master for each."""
_HELD_OCTETS = 16384
_PLAIN = frozenset({str, int, float, bool, type(None)})
_LOCAL_KEYS = frozenset({"log_logger", "log_source"})
"""What an event has that means nothing in another process."""
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _packed(event: LogEvent) -> bytes:
    """As L{as_line}, in a form that costs less where all fields are plain; L{_unpacked} reads either."""
    plain = {key: value for key, value in event.items() if key not in _LOCAL_KEYS}
    plain["log_level"] = event["log_level"].name
    # With the level and without subclasses, which have a text of their own.
    if _PLAIN.issuperset(map(type, plain.values())):
        return (_encode(plain) + "\n").encode("ascii")
    return as_line(event)


def _unpacked(line: bytes) -> LogEvent:
    if b'"__class_uuid__"' in line:
        return eventFromJSON(line.decode("utf-8"))
    event: LogEvent = json.loads(line)
    event["log_level"] = LogLevel.levelWithName(event["log_level"])
    return event


@implementer(ILogObserver)
class PipeObserver:
    """
    Writes events as JSON lines for the master.

    @param file: Unbuffered.
    @param clock: To hold lines back for a moment; None to write each at once.
        What is worse than informative, and what threads say, is never held.
    """

    def __init__(self, file: IO[bytes], settings: Settings, clock: IReactorTime | None = None) -> None:
        self._file = file
        self._clock = clock
        self._thread = threading.get_ident()
        self._held: list[bytes] = []
        self._octets = 0
        self.debug = settings.switch("debug")

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        level = event["log_level"]
        if level is LogLevel.debug and not self.debug:
            return
        line = _packed(event)
        if self._clock is None or threading.get_ident() != self._thread:
            self._write(line)
            return
        self._held.append(line)
        self._octets += len(line)
        if level not in _PATIENT or self._octets > _HELD_OCTETS:
            self.flush()
        elif len(self._held) == 1:
            self._clock.callLater(_HELD_FOR, self.flush)

    def flush(self) -> None:
        """Write what was held back."""
        held, self._held = self._held, []
        self._octets = 0
        if held:
            self._write(b"".join(held))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            # The master is gone; that this process should end is told elsewhere.
            pass


_PATIENT = frozenset({LogLevel.debug, LogLevel.info})
_log = Logger()


def publish(line: bytes, worker: int) -> None:
    """
    Publish a worker's event.

    @param line: As L{PipeObserver} wrote it.
    @param worker: Its process id.
    """
    try:
        event = _unpacked(line)
    except (ValueError, KeyError, TypeError, InvalidLogLevelError):
        _log.warn("worker {worker} wrote: {line}", worker=worker, line=printable(line))
        return
    event["worker"] = worker
    system = event.get("log_system") or event.get("log_namespace", "")
    event["log_system"] = f"{system} {worker}"
    globalLogPublisher(event)


def printable(data: bytes) -> str:
    """What a log line may show of foreign octets."""
    return re.sub(r"[^ -~]", "?", data[:500].decode("utf-8", "replace"))
