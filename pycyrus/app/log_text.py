"""
Events as lines of text, as twistd writes them, at a fraction of the cost.

What a session logs is a sentence with plain fields; that is done here.  All
other events, failures among them, are left to Twisted.
"""

from __future__ import annotations

import string
from functools import lru_cache
from typing import Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    formatEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.components import Componentized
from twisted.scripts._twistd_unix import ServerOptions, UnixAppLogger


def event_text(event: LogEvent) -> str:
    """What C{formatEvent} gives."""
    template = None if "log_flattened" in event else _template(event.get("log_format"))
    if template is None:
        return formatEvent(event)
    pattern, names = template
    try:
        return pattern % tuple([event[name] for name in names])
    except Exception:  # noqa: BLE001 - a field's own text may raise anything
        # A field is missing, or cannot be written: Twisted has a text for that.
        return formatEvent(event)


def event_line(event: LogEvent) -> str | None:
    """What C{formatEventAsClassicLogText} gives."""
    if "log_failure" in event:
        return formatEventAsClassicLogText(event)
    text = event_text(event)
    if not text:
        return None
    system = event.get("log_system")
    if system is None:
        level = event.get("log_level")
        system = f"{event.get('log_namespace', '-')}#{'-' if level is None else level.name}"
    when = event.get("log_time")
    line = f"{'-' if when is None else _second(int(when))} [{system}] {text}"
    return line.replace("\n", "\n\t") + "\n"


@lru_cache(maxsize=1024)
def _template(log_format: Any) -> tuple[str, tuple[str, ...]] | None:
    """A format for the operator C{%}, and its fields; None unless all are plain names."""
    if not isinstance(log_format, str):
        return None
    pieces: list[str] = []
    names: list[str] = []
    try:
        for literal, name, spec, conversion in string.Formatter().parse(log_format):
            pieces.append(literal.replace("%", "%%"))
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                return None
            pieces.append("%s")
            names.append(name)
    except ValueError:
        return None
    return "".join(pieces), tuple(names)


@lru_cache(maxsize=16)
def _second(when: int) -> str:
    return formatTime(when)


def quicken(application: object, options: object) -> None:
    """
    Let twistd's own log be written by L{event_line}.

    Nothing is done where the log is none of twistd's files: with C{--logger},
    C{--syslog}, or an observer that somebody else has set.

    @param application: What twistd runs.
    @param options: Twistd's.
    """
    if not isinstance(options, ServerOptions) or not isinstance(application, Componentized):
        return
    if options.get("logger") or options.get("syslog") or application.getComponent(ILogObserver, None) is not None:
        return
    # What twistd would make a moment later; the component is what it asks for before.
    observer = UnixAppLogger(options)._getLogObserver()
    if isinstance(observer, FileLogObserver):
        observer.formatEvent = event_line
        application.setComponent(ILogObserver, observer)
