"""Partitions: which there are, which a new mailbox goes to, and the paths within."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable, UnknownPartition
from pycyrus.store import files, paths
from pycyrus.store.layout import Archive
from pycyrus.store.partition_choice import PartitionChoice
from pycyrus.store.partition_marks import NotThatPartition, PartitionMarks
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
        self._archives = {name.lower(): Path(path) for name, path in settings.archivepartitions.items()}
        self._marks = PartitionMarks(settings.configdirectory)
        self._absent: set[str] = set()
        self._archive_marks: dict[str, str] = {}
        self._default = settings.defaultpartition.lower() if settings.defaultpartition else None
        for name in (*self._data, *self._meta, *self._archives):
            if not _NAME.match(name):
                raise BadPartition(f"partition {name}: a name has letters and digits only")
        if self._default is not None and self._default not in self._data:
            raise BadPartition(f"defaultpartition: there is no partition-{self._default}")
        for kind, roots in (("metapartition", self._meta), ("archivepartition", self._archives)):
            for name, root in roots.items():
                if name not in self._data:
                    raise BadPartition(f"{kind}-{name}: there is no partition-{name}")
                if kind == "archivepartition" and root in (self._data[name], self._meta.get(name)):
                    raise BadPartition(f"{kind}-{name}: it is the directory of the partition itself")
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
        for name in self._data:
            try:
                self._prepare(name)
            except OSError as error:
                _log.error("Partition {partition} cannot be used: {error}", partition=name, error=str(error))
                self._absent.add(name)
                failed.append(error)
        if failed and len(failed) == len(self._data):
            raise failed[0]
        for name, root in self._archives.items():
            try:
                self._prepare_root(f"archivepartition-{name}", root)
                files.makedirs(root / paths.STAGE_DIRECTORY, files.PRIVATE_DIRECTORY, exist_ok=True)
            except OSError as error:
                # The other messages can be read, and new ones come to them.
                _log.error("The archive of {partition} cannot be used: {error}", partition=name, error=str(error))

    def _prepare(self, name: str) -> None:
        """
        Get one partition ready.

        @raise OSError: It cannot be used.
        """
        root = self._data[name]
        self._prepare_root(f"partition-{name}", root)
        meta = self._meta.get(name)
        if meta is not None and meta != root:
            self._prepare_root(f"metapartition-{name}", meta)
        files.makedirs(root / paths.STAGE_DIRECTORY, files.PRIVATE_DIRECTORY, exist_ok=True)

    def _prepare_root(self, option: str, root: Path) -> None:
        files.makedirs(root, files.PRIVATE_DIRECTORY, exist_ok=True)
        self._marks.meet(option, root)

    def check(self, partition: str) -> None:
        """
        Make sure that a partition is there, and the one that it was; for what would take missing files for lost ones.

        @raise StoreUnavailable: It is not.
        """
        root = self._root(partition)
        for option, place in (("partition", root), ("metapartition", self._meta.get(partition, root))):
            try:
                is_another = self._marks.is_another(f"{option}-{partition}", place)
            except OSError as error:
                raise files.store_error(error, f"{option}-{partition}") from error
            if is_another:
                raise StoreUnavailable(f"{option}-{partition}: {place} is not the directory that it was")

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

    def archive(self, partition: str, location: str) -> Archive | None:
        """Where old and large messages of a mailbox are; None if the partition has no place for them."""
        root = self._archives.get(partition)
        if root is None:
            return None
        return Archive(root, paths.resolve(root, location), self._archive_mark(partition))

    def _archive_mark(self, partition: str) -> str:
        mark = self._archive_marks.get(partition)
        if mark is None:
            try:
                mark = self._marks.known(f"archivepartition-{partition}")
            except OSError as error:
                raise files.store_error(error, f"archivepartition-{partition}") from error
            if mark:
                self._archive_marks[partition] = mark
        return mark

    def archive_root(self, partition: str) -> Path | None:
        """The directory of all archived messages of a partition, if there is one."""
        return self._archives.get(partition)

    def archive_is_there(self, partition: str) -> bool:
        """Whether the archive of a partition is mounted, and the one that it was."""
        root = self._archives.get(partition)
        try:
            return root is not None and self._marks.is_there(f"archivepartition-{partition}", root)
        except OSError:
            return False

    def data_root(self, partition: str) -> Path:
        """Where the messages of a partition are, whether or not it can be used now."""
        return self._data[partition]

    def stage(self, partition: str) -> Path:
        """Directory of messages on their way in."""
        return self._root(partition) / paths.STAGE_DIRECTORY

    def stages(self) -> list[Path]:
        """All directories of messages on their way, to partitions that can be used and to archives."""
        roots = [root for name, root in self._data.items() if name not in self._absent]
        archives = [root for name, root in self._archives.items() if self.archive_is_there(name)]
        return [root / paths.STAGE_DIRECTORY for root in (*roots, *archives)]

    def _root(self, partition: str) -> Path:
        try:
            root = self._data[partition]
        except KeyError:
            raise StoreUnavailable(f"partition-{partition} is not configured") from None
        if partition in self._absent:
            self._look_again(partition)
        return root

    def _look_again(self, partition: str) -> None:
        """Perhaps a partition that could not be used is there by now."""
        try:
            self._prepare(partition)
        except NotThatPartition as error:
            raise StoreUnavailable(str(error)) from error
        except OSError as error:
            raise files.store_error(error, f"partition-{partition}") from error
        _log.info("Partition {partition} can be used again", partition=partition)
        self._absent.discard(partition)
