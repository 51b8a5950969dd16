"""Mailboxes without a store: for tests and benchmarks of one mailbox at a time."""

from __future__ import annotations

from pycyrus.store.commit import Committers, SyncMode
from pycyrus.store.mailbox import StateServices
from pycyrus.store.states import MailboxStates
from pycyrus.store.watch import JournalWatcher, WatchReactor


def make_states(
    reactor: WatchReactor, *, interval: float = 60.0, mode: SyncMode = SyncMode.AUTO, kept: int = 256
) -> MailboxStates:
    """
    Build all that mailboxes of a process share.

    @param interval: Seconds until a change of flags is durable.
    @param kept: Mailboxes that nobody has open and that stay in memory.
    """
    committers = Committers(reactor, interval=interval, mode=mode)
    return MailboxStates(StateServices(reactor, committers, JournalWatcher(reactor)), kept=kept)
