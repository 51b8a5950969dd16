"""
Mailboxes on their way when C{transfers.db} or the mailbox list was damaged: the one tells of the other.

A mailbox that is held says in the list by which transfer, and C{transfers.db} says which mailboxes are held or gone.
What came from another server lies with its manifest and inventory.  Everything here waits for the disk, before others
may have the databases open.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from twisted.logger import Logger

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import BadTransfer
from pycyrus.sqlite.opening import make
from pycyrus.store import moves, rows
from pycyrus.store.incoming_files import IncomingFiles, present
from pycyrus.store.partitions import Partitions
from pycyrus.store.rows import LEAVING, Entry, Work
from pycyrus.store.transfer_log import SCHEMA, SCHEMA_VERSION, Coming, Leaving
from pycyrus.store.transfer_parts import belongings

_log = Logger()

_SURE = ("decided", "moved")
"""States after which nothing less may be believed."""


def restore_transfers(mailboxes: Path, transfers: Path, partitions: Partitions) -> None:
    """
    Tell from the list what is on its way from here, and from what lies on the partitions what came.

    @param mailboxes: The list.
    @param transfers: What was made again of C{transfers.db}, or what may lack its last changes.
    @raise StoreUnavailable: One of them cannot be used.
    """
    try:
        with closing(make(transfers, SCHEMA, SCHEMA_VERSION)) as log:
            log.execute("BEGIN IMMEDIATE")
            if mailboxes.exists():
                with closing(make(mailboxes, rows.SCHEMA, rows.SCHEMA_VERSION)) as listed:
                    _restore_outgoing(listed, log)
            _restore_incoming(partitions, log)
            log.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{transfers.name} cannot be made again: {error}") from error


def _restore_outgoing(listed: sqlite3.Connection, log: sqlite3.Connection) -> None:
    now = int(time.time())
    for transfer_id, (server, root) in _held(listed).items():
        found = log.execute("SELECT state FROM outgoing WHERE transfer_id = ?", (transfer_id,)).fetchone()
        if found is not None and found[0] in _SURE:
            continue
        log.execute(
            "INSERT OR REPLACE INTO outgoing (transfer_id, root, server, partition, state, octets, total, begun,"
            " changed, error) VALUES (?, ?, ?, '', ?, 0, 0, ?, ?, ?)",
            (transfer_id, rows.key_of(root), server, Leaving.LOST.value, now, now, "the record of it was damaged"),
        )
        _log.warn("{mailbox} was on its way to {server}, which is asked", mailbox=internal(root), server=server)


def _held(listed: sqlite3.Connection) -> dict[str, tuple[str, MailboxName]]:
    """Servers and roots of what is held, by transfer."""
    found = {}
    for key, mailbox_type in listed.execute(
        "SELECT key, mailbox_type FROM mailboxes WHERE mailbox_type LIKE ?", (f"{LEAVING} %",)
    ):
        _, transfer_id, server = (*mailbox_type.split(" ", 2), "")[:3]
        name = rows.name_of(key)
        found[transfer_id] = server, name if name.owner is None else MailboxName(name.domain, name.owner, ())
    return found


def _restore_incoming(partitions: Partitions, log: sqlite3.Connection) -> None:
    for partition in partitions.names():
        try:
            transfer_ids = present(partitions, partition)
        except StoreUnavailable:
            # Said when the store is opened.
            continue
        for transfer_id in transfer_ids:
            if log.execute("SELECT 1 FROM incoming WHERE transfer_id = ?", (transfer_id,)).fetchone() is not None:
                continue
            try:
                manifest = IncomingFiles(partitions, partition, transfer_id).whole()
            except (MailStoreError, BadTransfer, OSError) as error:
                # It had not all come, so the other server has it: it goes when the next one comes.
                _log.info("Of transfer {transfer} not all is here: {error}", transfer=transfer_id, error=str(error))
                continue
            log.execute(
                "INSERT INTO incoming (transfer_id, state, partition, manifest, changed) VALUES (?, ?, ?, ?, ?)",
                (transfer_id, Coming.PREPARED.value, partition, manifest, int(time.time())),
            )


def hold_again(mailboxes: Path, transfers: Path, added: list[Entry], partitions: Partitions) -> None:
    """
    Have nobody use what is on its way, or is another server's, although the list was made again.

    @param added: What was put on the list, from the headers.
    @raise StoreUnavailable: A database cannot be used.
    """
    if not transfers.exists() or not added:
        return
    try:
        with (
            closing(make(transfers, SCHEMA, SCHEMA_VERSION)) as log,
            closing(make(mailboxes, rows.SCHEMA, rows.SCHEMA_VERSION)) as listed,
        ):
            listed.execute("BEGIN IMMEDIATE")
            unfinished = log.execute(
                "SELECT transfer_id, root, server FROM outgoing WHERE state IN ('held', 'decided', 'moved', 'lost')"
            )
            for transfer_id, key, server in unfinished:
                for entry in belongings(listed, rows.name_of(key)):
                    rows.replace(listed, replace(entry, mailbox_type=f"{LEAVING} {transfer_id} {server}"))
            for entry in added:
                _drop_departed(listed, log, entry, partitions)
            listed.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{mailboxes.name} cannot be made again: {error}") from error


def _drop_departed(listed: sqlite3.Connection, log: sqlite3.Connection, entry: Entry, partitions: Partitions) -> None:
    """What is another server's had only not been removed yet."""
    departed = log.execute("SELECT 1 FROM departed WHERE unique_id = ?", (entry.unique_id,)).fetchone() is not None
    found = rows.find_id(listed, entry.unique_id)
    if not departed or found is None or found.is_leaving:
        return
    rows.remove(listed, found)
    moves.ask(listed, partitions, Work.REMOVE, found.partition, found.location)
    _log.warn("{mailbox} was moved to another server, and goes here", mailbox=internal(found.name))
