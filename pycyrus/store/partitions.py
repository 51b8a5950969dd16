"""Partitions: which there are, which a new mailbox goes to, and the paths within."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable, UnknownPartition
from pycyrus.store import files, paths
from pycyrus.store.partition_choice import PartitionChoice
from pycyrus.store.settings import StoreSettings

_log = Logger()
_NAME = re.compile(r"[a-z0-9]+\Z")


class BadPartition(ValueError):
    """A partition is misconfigured; the message names it."""


class Partitions:
    """The partitions of this server."""

    def __init__(self, settings: StoreSettings) -> None:
        self._data = {name.lower(): Path(path) for name, path in settings.partitions.items()}
        self._meta = {name.lower(): Path(path) for name, path in settings.metapartitions.items()}
        self._default = settings.defaultpartition.lower() if settings.defaultpartition else None
        for name in (*self._data, *self._meta):
            if not _NAME.match(name):
                raise BadPartition(f"partition {name}: a name has letters and digits only")
        if self._default is not None and self._default not in self._data:
            raise BadPartition(f"defaultpartition: there is no partition-{self._default}")
        for name in self._meta:
            if name not in self._data:
                raise BadPartition(f"metapartition-{name}: there is no partition-{name}")
        for name in settings.partition_choice.excluded:
            if name not in self._data:
                _log.warn("partition_select_exclude: there is no partition-{partition}", partition=name)
        self._choice = PartitionChoice(self._data, settings.partition_choice)

    def prepare(self) -> None:
        """
        Make the directories that are missing.

        A partition that fails harms only its own mailboxes, which can be used when it is there again.

        @raise OSError: None can be used.
        """
        failed: list[OSError] = []
        for name, root in self._data.items():
            try:
                for directory in (root, root / paths.STAGE_DIRECTORY, *filter(None, [self._meta.get(name)])):
                    files.makedirs(directory, mode=files.PRIVATE_DIRECTORY, exist_ok=True)
            except OSError as error:
                _log.error("Partition {partition} cannot be used: {error}", partition=name, error=error)
                failed.append(error)
        if failed and len(failed) == len(self._data):
            raise failed[0]

    def names(self) -> list[str]:
        """All names, in order."""
        return sorted(self._data)

    def choose(self, wanted: str | None, parents: str | None) -> str:
        """
        The partition for a new mailbox.

        @param wanted: As asked for explicitly.
        @param parents: Of the parent mailbox.
        @raise UnknownPartition: There is no such partition.
        @raise StoreUnavailable: There is none at all.
        """
        if wanted is not None:
            if wanted.lower() not in self._data:
                raise UnknownPartition(wanted)
            return wanted.lower()
        if parents is not None and parents in self._data:
            return parents
        return self._default or self._choice.choose()

    def data(self, partition: str, location: str) -> Path:
        """
        Directory of a mailbox's messages.

        @raise StoreUnavailable: The partition is not configured any more.
        """
        return paths.resolve(self._root(partition), location)

    def meta(self, partition: str, location: str) -> Path:
        """Directory of a mailbox's other files; mostly the same."""
        return paths.resolve(self._meta.get(partition) or self._root(partition), location)

    def roots(self, partition: str) -> list[Path]:
        """Where a location of the partition can have directories: one, or two."""
        meta = self._meta.get(partition)
        data = self._root(partition)
        return [data] if meta is None or meta == data else [meta, data]

    def data_root(self, partition: str) -> Path:
        """Where the messages of a partition are."""
        return self._root(partition)

    def stage(self, partition: str) -> Path:
        """Directory of messages on their way in."""
        return self._root(partition) / paths.STAGE_DIRECTORY

    def _root(self, partition: str) -> Path:
        try:
            return self._data[partition]
        except KeyError:
            raise StoreUnavailable(f"partition-{partition} is not configured") from None
