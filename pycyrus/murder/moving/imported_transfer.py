"""Mailboxes that another kind of server sent, record by record, made into files of ours, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pycyrus.model.transfers import INVENTORY, MANIFEST, FileFacts, Manifest
from pycyrus.store.files import store_error
from pycyrus.store.imported import ImportedMailbox, build
from pycyrus.store.incoming import Arrivals, IncomingTransfer
from pycyrus.store.layout import JOURNAL
from pycyrus.store.outgoing_files import packets_of
from pycyrus.store.threads import StoreReactor, in_thread

Find = Callable[[bytes], str | None]
"""Where the file of a message is, by its digest."""


def make_files(transfer: IncomingTransfer, mailboxes: Sequence[ImportedMailbox], find: Find) -> None:
    """
    Make the files of mailboxes; waits for the disk.

    @raise TransferFailed: Something is missing, or is not what it should be.
    @raise StoreUnavailable: They cannot be made.
    """
    try:
        for mailbox in mailboxes:
            place = transfer.files.place(mailbox.unique_id)
            for message in build(place, mailbox, find):
                facts = FileFacts(message.size, message.guid.hex())
                transfer.files.note(mailbox.unique_id, f"{message.uid}.", facts)
            made = Path(place.journal).read_bytes()
            digest = hashlib.sha1(made, usedforsecurity=False).hexdigest()
            transfer.files.note(mailbox.unique_id, JOURNAL, FileFacts(len(made), digest))
    except OSError as error:
        raise store_error(error, "mailboxes cannot come in") from error


async def keep(
    arrivals: Arrivals, transfer: IncomingTransfer, manifest: Manifest, work: Callable[[], None], reactor: StoreReactor
) -> None:
    """
    Have all that came be durable, until somebody says what is to become of it.

    @param work: Makes the files; runs on a thread.
    @raise MailStoreError: It is not as it should be.
    """
    await in_thread(reactor, work)
    listed = transfer.files.inventory([mailbox.unique_id for mailbox in manifest.mailboxes])
    for name, contents in ((MANIFEST, manifest.encode()), (INVENTORY, listed.encode())):
        for packet in packets_of(name, contents):
            await arrivals.write(transfer, list(packet.pieces), packet.data)
    await arrivals.prepare(transfer)
