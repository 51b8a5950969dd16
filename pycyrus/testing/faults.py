"""
Making the store's file operations fail, or end the process, at a chosen call.

Everything in the store that touches the disk calls through
L{pycyrus.store.files}; while a L{Faults} is installed, its functions count
their calls, and one of them does not go as asked.
"""

from __future__ import annotations

import enum
import errno
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pycyrus.store import files

CHANGING = (
    "copy_file_range", "fdatasync", "flock", "fsync", "ftruncate", "link", "makedirs", "mkdir", "open_file", "pwrite",
    "rename", "rmdir", "syncfs", "unlink", "write",
)  # fmt: skip
"""Calls that can change what is on the disk, or must succeed before something does."""

_TAKES_DATA = frozenset({"pwrite", "write"})
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Action(enum.Enum):
    """What happens at the chosen call."""

    FAIL = "fail"
    """It raises an error and does nothing."""
    SHORT = "short"
    """A write writes half, and the next write fails; other calls fail."""
    READ_ONLY = "read-only"
    """From it on nothing can be written: the file system was remounted read-only.  Locks and reading work."""
    KILL_BEFORE = "kill before"
    """The process ends without doing it."""
    KILL_AFTER = "kill after"
    """The process ends when it is done."""


class Faults:
    """
    A plan for one call.

    @param at: Which of the calls counted, from 1; None only counts.
    @param error: The C{errno} of failures; a file system that is read-only has its own.
    @param only: Names in L{pycyrus.store.files} that are counted.
    @ivar calls: Names of the calls so far.
    """

    def __init__(
        self, at: int | None = None, action: Action = Action.FAIL, error: int = 0, only: tuple[str, ...] = CHANGING
    ) -> None:
        self.calls: list[str] = []
        self._at = at
        self._action = action
        self._error = error
        self._only = only
        self._short = False
        self._originals: dict[str, Any] = {}

    def __enter__(self) -> Faults:
        for name in self._only:
            original = getattr(files, name)
            self._originals[name] = original
            setattr(files, name, self._wrap(name, original))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, original in self._originals.items():
            setattr(files, name, original)
        self._originals.clear()

    def _wrap(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self._short and name in _TAKES_DATA:
                self._short = False
                raise OSError(self._error, os.strerror(self._error))
            if self._action is Action.READ_ONLY:
                if self._at is not None and len(self.calls) >= self._at and _writes(name, args):
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
                return original(*args, **kwargs)
            if len(self.calls) != self._at:
                return original(*args, **kwargs)
            return self._strike(name, original, args, kwargs)

        return wrapped

    def _strike(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._action is Action.KILL_BEFORE:
            end_process()
        if self._action is Action.KILL_AFTER:
            original(*args, **kwargs)
            end_process()
        if self._action is Action.SHORT and name in _TAKES_DATA and len(args[1]) > 1:
            self._short = True
            return original(args[0], memoryview(args[1])[: len(args[1]) // 2], *args[2:], **kwargs)
        raise OSError(self._error, os.strerror(self._error))


def _writes(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a call is one that a file system which is read-only refuses."""
    return name != "flock" and (name != "open_file" or bool(args[1] & _FOR_WRITING))


def end_process() -> None:
    """End this process at once, as C{kill -9} does."""
    os.kill(os.getpid(), signal.SIGKILL)
