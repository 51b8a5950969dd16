"""
C{ready.json}: tells scripts that every service listens, and where.

It exists exactly while that is so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pycyrus import __version__
from pycyrus.config.listen import InetAddress, UnixAddress

NAME = "ready.json"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody whom the embedded default knows."""

    user: str
    password: str


class ReadyFile:
    """The file, in the directory of the server's state."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME

    def write(
        self,
        workers: Sequence[int],
        services: Mapping[str, InetAddress | UnixAddress],
        accounts: Mapping[str, Account],
    ) -> None:
        """
        Write it beside and rename it, so that it is never seen in part.

        @param workers: Process ids.
        @param accounts: Empty where there is a configuration.
        @raise OSError: It cannot be written.
        """
        content: dict[str, object] = {
            "version": __version__,
            "pid": os.getpid(),
            "workers": list(workers),
            "services": {name: _address(address) for name, address in services.items()},
        }
        if accounts:
            content["accounts"] = {
                role: {"user": account.user, "password": account.password} for role, account in accounts.items()
            }
        write_private(self.path, json.dumps(content, indent=2) + "\n")

    def remove(self) -> None:
        """Remove it, if it is there."""
        self.path.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """
    Replace a file that only its owner may read.

    @raise OSError: The old one, if any, is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _address(address: InetAddress | UnixAddress) -> dict[str, object]:
    if isinstance(address, UnixAddress):
        return {"path": str(address.path)}
    return {"host": address.host, "port": address.port}
