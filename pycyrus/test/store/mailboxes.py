"""Mailboxes for tests: made in a temporary directory and driven without the global reactor."""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.interfaces import IMailbox, NewMessage
from pycyrus.model.acl import INSERT, OWNER_RIGHTS
from pycyrus.model.flags import DELETED, NO_FLAGS, FlagAction, FlagChange, Flags
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.uids import UidArray
from pycyrus.store import files
from pycyrus.store.commit import SyncMode
from pycyrus.store.header import Header
from pycyrus.store.mailbox import MailboxPaths, create_mailbox
from pycyrus.store.opened import DEFAULT_POLICY, ISeenState, MailboxPolicy, OpenedMailbox
from pycyrus.store.spool import Stage, StagedMessage
from pycyrus.store.states import MailboxStates
from pycyrus.store.store import MailStore
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.states import make_states

T = TypeVar("T")

FRED = Identity("fred")
INBOX = MailboxName("", "fred", ())


def uids(*numbers: int) -> UidArray:
    """UIDs as a mailbox takes them."""
    return np.array(numbers, dtype=np.uint32)


async def expunge(mailbox: IMailbox, *which: int) -> None:
    """Expunge messages, by their UIDs."""
    await mailbox.store(uids(*which), FlagChange(FlagAction.ADD, Flags(DELETED)))
    await mailbox.expunge(uids(*which))


def text(number: int, size: int = 40) -> bytes:
    """A message that differs from others."""
    head = b"From: a@example.org\r\nSubject: number %d\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n" % number
    return head + b"x" * size + b"\r\n"


async def append_to(store: MailStore, owner: Identity, name: MailboxName, data: bytes) -> None:
    """Put a message into a mailbox of a whole store."""
    staged = await store.stage(owner, name)
    staged.write(data)
    staged.finish()
    box = await store.open(owner, name, INSERT)
    await box.append([NewMessage(staged)])
    box.close()
    staged.discard()


def without_syncs(case: SynchronousTestCase) -> None:
    """
    Leave out what makes a test slow and cannot be seen in it.

    The machine stays up, so what is in the page cache is as good as on the
    disk.  Faults still count these calls, and make them fail.
    """
    for name in ("syncfs", "fdatasync", "fsync"):
        case.patch(files, name, lambda fd: None)


class Place:
    """
    A partition with mailboxes, as one process sees it.

    @param root: An empty directory, or one where another process has been.
    """

    def __init__(self, root: Path, *, mode: SyncMode = SyncMode.AUTO, kept: int = 256) -> None:
        self.root = root
        self.reactor = BlockingReactor()
        self.states: MailboxStates = make_states(self.reactor, mode=mode, kept=kept)
        self.stage = Stage(root / "stage.")

    def run(self, coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.reactor.run(coroutine)

    def paths(self, name: str) -> MailboxPaths:
        """Where a mailbox is."""
        return MailboxPaths(self.root / name, self.root / name, self.root / "stage.")

    def create(self, name: str, uidvalidity: int = 77) -> OpenedMailbox:
        """Make a mailbox and open it."""
        create_mailbox(self.paths(name), Header(name, f"user.{name}", uidvalidity))
        return self.open(name)

    def open(
        self,
        name: str,
        rights: Iterable[str] = OWNER_RIGHTS,
        *,
        seen: ISeenState | None = None,
        policy: MailboxPolicy = DEFAULT_POLICY,
        identity: Identity = FRED,
    ) -> OpenedMailbox:
        """Open a mailbox."""
        state = self.run(self.states.open(name, self.paths(name)))
        granted = frozenset(rights)
        return OpenedMailbox(
            state, identity, lambda: granted, seen, name=lambda: INBOX, policy=policy,
            closed=lambda: self.states.release(state),
        )  # fmt: skip

    def staged(self, data: bytes) -> StagedMessage:
        """A finished staged message."""
        message = self.stage.begin()
        message.write(data)
        message.finish()
        return message

    def append(self, mailbox: OpenedMailbox, *messages: bytes, flags: Flags = NO_FLAGS) -> tuple[int, ...]:
        """Append messages."""
        staged = [self.staged(data) for data in messages]
        try:
            return self.run(mailbox.append([NewMessage(each, flags, 1_700_000_000) for each in staged])).uids
        finally:
            for each in staged:
                each.discard()

    def close(self) -> None:
        """Make all durable and stop."""
        self.run(self.states.close())


def octets(mailbox: OpenedMailbox, uid: int) -> bytes:
    """All octets of a message."""
    file = mailbox.message(uid)
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def digests(mailbox: OpenedMailbox) -> dict[int, str]:
    """SHA-1 of each message's octets by UID; the index must agree with the files."""
    view = mailbox.view()
    found = {}
    for uid, guid in zip(view.uids.tolist(), view.guids, strict=True):
        found[uid] = hashlib.sha1(octets(mailbox, uid), usedforsecurity=False).hexdigest()
        if found[uid] != guid.tobytes().hex():
            raise AssertionError(f"message {uid} is not what the index says")
    return found
