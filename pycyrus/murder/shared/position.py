"""How far the copy of a shared directory has come: C{mupdate.position}."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pycyrus.murder.shared.entries import Mark
from pycyrus.store.files import store_error

FILE_NAME = "mupdate.position"


class Position:
    """
    A file with a number and a token.

    It is written after the copy was, and never waits for the disk: one that is old, or not
    readable, costs a comparison only.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._mark: Mark | None = None

    def mark(self) -> Mark | None:
        """
        What this process knows; None if the copy was never whole.

        @raise StoreUnavailable: As L{read}.
        """
        return self._mark or self.read()

    def read(self) -> Mark | None:
        """
        Look at the file, which another process may have written.

        @raise StoreUnavailable: It is there, and cannot be read.
        """
        try:
            with contextlib.suppress(FileNotFoundError, ValueError):
                number, token = self._path.read_text("ascii").split("\n", 2)[:2]
                self._mark = Mark(int(number), token)
        except OSError as error:
            raise store_error(error, f"{FILE_NAME} cannot be read") from error
        return self._mark

    def set(self, mark: Mark) -> None:
        """
        The copy has come that far.

        @raise StoreUnavailable: It cannot be written, as where the disk is full.
        """
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(f"{mark.number}\n{mark.token}\n", "ascii")
            fresh.replace(self._path)
        except OSError as error:
            raise store_error(error, f"{FILE_NAME} cannot be written") from error
        self._mark = mark
