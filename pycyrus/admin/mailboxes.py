"""The mailbox list and the directories, for commands that only look: no store is opened, nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pycyrus.admin.command import CommandError, act_as_server
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import Configuration
from pycyrus.model.names import MailboxName, internal
from pycyrus.store import directory, rows
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.moves import mailbox_paths
from pycyrus.store.partitions import Partitions
from pycyrus.store.rows import Entry

_PAGE = 1000


class Mailboxes:
    """All mailboxes of a server, as its list has them at this moment."""

    def __init__(self, connection: sqlite3.Connection, configuration: Configuration) -> None:
        self._connection = connection
        self._settings = store_settings(configuration.settings)
        self._partitions = Partitions(self._settings)

    def find(self, name: MailboxName) -> Entry | None:
        """Look a mailbox up."""
        return rows.find(self._connection, name)

    def at(self, path: Path) -> Entry | None:
        """The mailbox whose messages, archived messages, or other files, lie in a directory."""
        for partition in self._partitions.names():
            archive = self._partitions.archive_root(partition)
            for root in (*self._partitions.roots(partition), *filter(None, [archive])):
                if path != root and path.is_relative_to(root):
                    location = path.relative_to(root).as_posix()
                    found = rows.find_location(self._connection, partition, location)
                    if found is not None:
                        return found
        return None

    def below(self, name: MailboxName) -> Iterator[Entry]:
        """A mailbox, if it is there, and all below it, likewise."""
        return self.entries(*rows.tree_range(rows.key_of(name)))

    def entries(self, low: str = "", high: str = "\U0010ffff") -> Iterator[Entry]:
        """All of them, or those of a range of keys, in order, page by page, so that any number needs little memory."""
        after = False
        while True:
            page = rows.page(self._connection, low, high, _PAGE, after=after)
            yield from map(rows.entry_of, page)
            if len(page) < _PAGE:
                return
            low, after = page[-1][0], True

    def paths(self, entry: Entry) -> MailboxPaths:
        """Where a mailbox's files are."""
        return mailbox_paths(self._partitions, entry.partition, entry.location)

    def text(self, entry: Entry) -> str:
        """The internal name."""
        return internal(entry.name, self._settings.deletedprefix)

    def partitions(self) -> Iterator[tuple[str, tuple[Path, ...]]]:
        """Names of partitions and their directories: messages, and the rest where it is apart."""
        for name in sorted(self._partitions.names()):
            yield name, tuple(self._partitions.roots(name))


@contextmanager
def open_mailboxes(configuration: Configuration, path: Path | None = None) -> Iterator[Mailboxes]:
    """
    Read the mailbox list, beside a server that may run.

    @param path: Of another list than the server's.
    @raise CommandError: It cannot be read.
    """
    act_as_server(configuration)
    if path is None:
        path = Path(configuration.settings.text("configdirectory")) / directory.FILE_NAME
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)
        try:
            yield Mailboxes(connection, configuration)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise CommandError(f"{path}: {error}") from error
