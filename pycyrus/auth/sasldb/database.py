"""The secrets of users, as C{saslpasswd2} keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pycyrus.auth.outside import SourceDown
from pycyrus.auth.sasldb import berkeley, gdbm, lmdb
from pycyrus.auth.sasldb.octets import Damaged

LARGEST = 64 << 20
"""Octets of a file that is read."""
_MOST_RECORDS = 1 << 20
_PASSWORD = b"userPassword"

_FORMS: tuple[ModuleType, ...] = (berkeley, gdbm, lmdb)


class BadSasldb(SourceDown):
    """The file cannot be read; the text names it and says what to mend."""


def secrets_of(data: bytes) -> dict[tuple[str, str], bytes]:
    """
    The passwords in a file.

    @return: By user and realm.
    @raise Damaged: It is of no known form, or cannot be read.
    """
    form = next((form for form in _FORMS if form.byte_order(data) is not None), None)
    if form is None:
        raise Damaged("it is neither of Berkeley DB (hash) nor of GNU dbm nor of LMDB")
    read: Callable[[bytes], Iterator[tuple[bytes, bytes]]] = form.records
    found: dict[tuple[str, str], bytes] = {}
    for count, (key, value) in enumerate(read(data)):
        if count > _MOST_RECORDS:
            raise Damaged("it has no end")
        # User, realm and property; properties but the password are of mechanisms long gone.
        parts = key.split(b"\0")
        if len(parts) == 3 and parts[2] == _PASSWORD:
            found[parts[0].decode("utf-8", "replace"), parts[1].decode("utf-8", "replace")] = value
    return found


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, and of which state of the file."""

    state: object
    secrets: Mapping[tuple[str, str], bytes]


class Sasldb:
    """
    A file that others write.

    @ivar path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: _Read | None = None

    def state(self) -> object:
        """
        A value that changes when the file does.

        @raise BadSasldb: It is not there.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise BadSasldb(f"{self.path}: {error.strerror}; saslpasswd2 makes it") from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def secrets(self) -> Mapping[tuple[str, str], bytes]:
        """
        All passwords, by user and realm.  Reads the file if it has changed.

        @raise BadSasldb: It cannot be read.
        """
        # One that is being written may look damaged for a moment.
        for is_last in (False, False, True):
            state = self.state()
            if self._read is not None and self._read.state == state:
                return self._read.secrets
            try:
                found = secrets_of(self._octets())
            except Damaged as error:
                if is_last:
                    raise BadSasldb(f"{self.path}: {error}; make it anew with saslpasswd2") from error
                continue
            if self.state() == state or is_last:
                self._read = _Read(state, found)
                return found
        raise AssertionError("the last time it returns or raises")

    def _octets(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise BadSasldb(f"{self.path}: {error.strerror}; the server's user must be able to read it") from error
        if len(data) > LARGEST:
            raise Damaged(f"it has more than {LARGEST} octets")
        return data
