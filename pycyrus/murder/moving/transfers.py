"""
Mailboxes that move to another server, in two phases.

All is copied and compared while the mailboxes are still here; then nobody may use them,
what is lacking is copied, and the other server keeps it.  From the moment on at which it
may have been told that the mailboxes are its own, only it knows whose they are: it is
asked until it answers.  What is here goes when the Murder's master has them there.

Each step is written down before it is done, so that whoever comes after a crash knows
what may have happened: before the decision all goes on here, after it there.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.errors import (
    MailboxCorrupted,
    MailboxNotFound,
    MailStoreError,
    OperationNotSupported,
    PermissionDenied,
    StoreUnavailable,
    TransferFailed,
)
from pycyrus.interfaces import IDumpIntake, IMailboxPublisher, ISyncIntake, ITransferIntake, ITransfers, Moved
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.internal_names import internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import Manifest
from pycyrus.murder.moving.dump_intake import DUMP_PREFIX, DumpIntake
from pycyrus.murder.moving.sync_intake import KNOWN_PREFIX, SYNC_PREFIX, SyncIntake
from pycyrus.murder.moving.sync_link import SyncLink
from pycyrus.murder.moving.transfer_intake import TransferIntake
from pycyrus.murder.moving.transfer_link import TransferLink
from pycyrus.murder.pauses import Pause
from pycyrus.store.incoming import Arrivals
from pycyrus.store.local_changes import create_here, delete_here
from pycyrus.store.outgoing import Departures
from pycyrus.store.shield import shielded
from pycyrus.store.threads import in_thread
from pycyrus.store.transfer_log import CANCELLED, Leaving, Outgoing, TransferLog
from pycyrus.tasks import Tasks

PeerLink = TransferLink | SyncLink
"""A server of our kind, or one of Cyrus's."""
Dial = Callable[[Outgoing], Awaitable[PeerLink]]
"""Connects to the other server of a transfer."""

LOOK_EVERY = 1.0
"""Seconds between two looks for transfers that broke off: till then nobody can use the mailboxes."""
RETRY_EVERY = 10.0
"""Seconds until one is tried again that could not be gone on with."""
_TOLD_EVERY = 1.0
"""Seconds between two notes of how far a transfer is."""
_PUBLISHED_WITHIN = 5
"""Attempts to have the master know of the mailboxes at once."""


@implementer(ITransfers)
class Transfers:
    """
    One process's share in moving mailboxes.

    @param own_name: This server's, as others call it.
    @param publisher: None where there is no Murder.
    """

    log = Logger()

    def __init__(
        self,
        departures: Departures,
        arrivals: Arrivals,
        transfers: TransferLog,
        dial: Dial,
        own_name: str,
        publisher: IMailboxPublisher | None,
        reactor: Any,
        *,
        default_domain: str = "",
        deleted_prefix: str = "DELETED",
        may_move_users: bool = True,
    ) -> None:
        """
        @param default_domain: Of users whose ids have none.
        @param may_move_users: Not only shared mailboxes (C{allowusermoves}).
        """
        self._departures = departures
        self._arrivals = arrivals
        self._transfers = transfers
        self._dial = dial
        self._own_name = own_name
        self._publisher = publisher
        self._reactor = reactor
        self._may_move_users = may_move_users
        self._names = {"default_domain": default_domain, "deleted_prefix": deleted_prefix}
        self._pause = Pause(reactor)
        self._tasks = Tasks()
        self._is_closed = False
        self._failed_at: dict[str, float] = {}
        departures.tell_departed(transfers.has_departed)

    # --- for sessions and tools -----------------------------------------

    def intake(self, identity: Identity) -> ITransferIntake:
        """See L{ITransfers.intake}."""
        _demand(identity)
        return TransferIntake(self._arrivals, self._publisher, self._departures.names)

    async def roots(self, identity: Identity, partition: str) -> list[MailboxName] | None:
        """See L{ITransfers.roots}."""
        _demand(identity)
        return await self._departures.roots(partition)

    async def create_here(self, identity: Identity, name: MailboxName, partition: str | None) -> str:
        """See L{ITransfers.create_here}."""
        _demand(identity)
        return await create_here(self._departures.parts, identity, name, partition)

    async def delete_here(self, identity: Identity, name: MailboxName) -> None:
        """See L{ITransfers.delete_here}."""
        _demand(identity)
        await delete_here(self._departures.parts, identity, name)

    async def undump(self, identity: Identity, name: MailboxName) -> IDumpIntake:
        """See L{ITransfers.undump}."""
        _demand(identity)
        prefix = self._names["deleted_prefix"]
        return await DumpIntake.begin(name, self._departures, self._arrivals, self._reactor, prefix)

    def sync(self, identity: Identity) -> ISyncIntake:
        """See L{ITransfers.sync}."""
        _demand(identity)
        return SyncIntake(self._arrivals, self._publisher, self._departures.is_here, self._reactor, **self._names)

    async def move(
        self, identity: Identity, root: MailboxName, server: str, partition: str, told: Callable[[Moved], None]
    ) -> None:
        """See L{ITransfers.move}."""
        _demand(identity)
        if server.lower() == self._own_name.lower():
            raise TransferFailed("Invalid server requested: it is there")
        if root.owner is not None and not self._may_move_users:
            raise OperationNotSupported("allowusermoves is off")
        await self._departures.find(root, deleted=True)
        transfer = Outgoing(secrets.token_hex(16), root, server, partition, Leaving.COPYING)
        try:
            # It goes on if whoever asked for it goes away.
            await shielded(self._alone(transfer, self._move))
        except MailStoreError as error:
            told(Moved(root, _reason(error)))
            is_temporary = (
                error.is_temporary if isinstance(error, TransferFailed) else isinstance(error, StoreUnavailable)
            )
            raise TransferFailed(_reason(error), is_temporary=is_temporary) from error
        told(Moved(root))

    # --- after a crash --------------------------------------------------

    def start(self) -> None:
        """Begin to look for transfers that broke off, here or in another process."""
        self._tasks.spawn(self._look(), self._failed)

    async def _look(self) -> None:
        await self._arrivals.clean()
        await self.settle()
        # The other server may think for long: others' transfers do not wait for it.
        self._tasks.spawn(self._look_for_orphans(), self._failed)
        while not self._is_closed:
            await self.resume()
            await self._pause.wait(LOOK_EVERY)

    async def _look_for_orphans(self) -> None:
        pause = Pause(self._reactor)
        while not self._is_closed:
            await self.accept_orphans()
            await pause.wait(RETRY_EVERY)

    async def resume(self) -> None:
        """Go on with each transfer that broke off, and that nobody is at."""
        unfinished = self._transfers.unfinished()
        self._failed_at = {
            each.transfer_id: self._failed_at[each.transfer_id]
            for each in unfinished
            if each.transfer_id in self._failed_at
        }
        for transfer in unfinished:
            if self._reactor.seconds() - self._failed_at.get(transfer.transfer_id, -RETRY_EVERY) < RETRY_EVERY:
                continue
            try:
                await self._alone(transfer, self._resume)
            except MailStoreError:
                self._failed_at[transfer.transfer_id] = self._reactor.seconds()

    async def settle(self) -> None:
        """End what came, and was listed by whoever died then."""
        for each in self._transfers.all_prepared():
            if self._arrivals.is_listed(each):
                with suppress(MailStoreError):
                    await self._arrivals.activate(each.transfer_id)
                    if each.transfer_id.startswith((SYNC_PREFIX, DUMP_PREFIX)):
                        # Their servers do not ask again.
                        await self._arrivals.forget(each.transfer_id)

    async def accept_orphans(self) -> None:
        """
        Have mailboxes be this server's that a server of Cyrus's removed before it handed them over.

        It tells the master of its removal when it is started again, and then nobody has them but us.  If it goes on
        running, only it can say that it has nothing of a user any more.
        """
        publisher = self._publisher
        if publisher is None:
            return
        for each in self._transfers.all_prepared():
            if not each.transfer_id.startswith(KNOWN_PREFIX) or not self._transfers.is_free(each.transfer_id):
                continue
            manifest = Manifest.decode(each.manifest)
            names = [mailbox.name for mailbox in manifest.mailboxes]
            with suppress(MailStoreError):
                if await publisher.are_nowhere(names) or await self._is_let_go(
                    publisher, each.transfer_id, manifest.root, names
                ):
                    await self._arrivals.activate(each.transfer_id)
                    await publisher.push(names)
                    await self._arrivals.forget(each.transfer_id)
                    self.log.warn("{mailbox} was taken over: no other server has it", mailbox=internal(names[0]))

    async def _is_let_go(
        self, publisher: IMailboxPublisher, transfer_id: str, root: MailboxName, names: Sequence[MailboxName]
    ) -> bool:
        """Whether a server of Cyrus's that has a user's mailboxes reserved says that it has none of them."""
        server = await publisher.claimed_at(names)
        # Of a shared mailbox that is on its way nobody knows what it says.
        if not server or not root.is_inbox:
            return False
        link = await self._dial(Outgoing(transfer_id, root, server, "", Leaving.LOST))
        try:
            # While some of them are still on their way it refuses to say.
            return not link.keeps_record and not await link.state()
        finally:
            link.close()

    async def _alone(self, transfer: Outgoing, work: Callable[[Outgoing], Awaitable[None]]) -> None:
        """Do something that no other process does at the same time."""
        lock = self._transfers.take(transfer.transfer_id)
        if lock is None:
            return
        try:
            await work(transfer)
        except MailStoreError as error:
            self.log.warn(
                "{mailbox} on its way to {server}: {error}",
                mailbox=internal(transfer.root),
                server=transfer.server,
                error=str(error),
            )
            raise
        finally:
            self._transfers.give_back(transfer.transfer_id, lock, is_over=True)

    async def _resume(self, transfer: Outgoing) -> None:
        # As it is now that nobody else is at it.
        found = {each.transfer_id: each for each in self._transfers.outgoing()}.get(transfer.transfer_id)
        if found is None or found.state.is_over:
            return
        if found.state in (Leaving.COPYING, Leaving.HELD, Leaving.CANCELLED):
            await self._undo(found, CANCELLED if found.state is Leaving.CANCELLED else "interrupted")
        elif found.state is Leaving.UNDONE:
            await self._disclaim(found)
        else:
            link = await self._connect(found)
            try:
                if found.state is not Leaving.LOST:
                    await self._finish(found, link)
                elif link.keeps_record or await self._are_elsewhere(await self._names_of(found)):
                    await self._finish(replace(found, state=Leaving.DECIDED), link)
                else:
                    # It may have less than all.
                    await self._undo(found, "interrupted")
            finally:
                link.close()

    async def _connect(self, transfer: Outgoing) -> PeerLink:
        link = await self._dial(transfer)
        link.expect(await self._departures.names_by_id(transfer.root))
        return link

    # --- the way there --------------------------------------------------

    async def _move(self, transfer: Outgoing) -> None:
        await self._transfers.begin(transfer)
        try:
            link = await self._begin(transfer)
        except MailStoreError as error:
            await self._transfers.note(transfer.transfer_id, Leaving.FAILED, _reason(error))
            raise
        try:
            try:
                await self._copy(transfer, link)
            except MailStoreError as error:
                link.close()
                await self._undo(transfer, _reason(error))
                raise
            await self._finish(replace(transfer, state=Leaving.DECIDED), link)
        finally:
            link.close()

    async def _begin(self, transfer: Outgoing) -> PeerLink:
        link = await self._connect(transfer)
        try:
            await link.begin(transfer.root, transfer.partition)
        except BaseException:
            link.close()
            raise
        return link

    async def _copy(self, transfer: Outgoing, link: PeerLink) -> None:
        """Copy everything, and have the other server keep it."""
        entries = await self._departures.find(transfer.root, deleted=link.sends_deleted)
        mailboxes = await in_thread(self._reactor, self._departures.files_of, entries, {})
        total = 0
        for each in mailboxes.values():
            with suppress(MailboxNotFound):
                total += await in_thread(self._reactor, each.total)
        link.may_go_on = lambda: not self._transfers.is_cancelled(transfer.transfer_id)
        telling = Tasks()
        telling.spawn(self._tell_progress(transfer, link, total), self._failed)
        try:
            await link.send_messages(list(mailboxes.values()))
            await link.sync()
            await self._transfers.note(transfer.transfer_id, Leaving.HELD)
            entries = await self._departures.hold(
                transfer.root, deleted=link.sends_deleted, by=f"{transfer.transfer_id} {transfer.server}"
            )
            if self._publisher is not None:
                await self._publisher.push([entry.name for entry in entries])
            # Some may have been renamed, or be new.
            last = list((await in_thread(self._reactor, self._departures.files_of, entries, mailboxes)).values())
            await link.send_rest(last)
        finally:
            telling.cancel_all()
        await self._note_progress(transfer, link, total)
        await link.prepare(await self._departures.manifest(transfer.root, entries), last)
        await self._transfers.note(transfer.transfer_id, Leaving.DECIDED)

    async def _tell_progress(self, transfer: Outgoing, link: PeerLink, total: int) -> None:
        pause = Pause(self._reactor)
        while True:
            await self._note_progress(transfer, link, total)
            await pause.wait(_TOLD_EVERY)

    async def _note_progress(self, transfer: Outgoing, link: PeerLink, total: int) -> None:
        await self._transfers.note_progress(transfer.transfer_id, link.octets, max(total, link.octets))

    # --- back -----------------------------------------------------------

    async def _undo(self, transfer: Outgoing, reason: str) -> None:
        """All goes on here; the other server has to forget what it has."""
        await self._departures.release(transfer.root)
        await self._transfers.note(transfer.transfer_id, Leaving.UNDONE, reason)
        if self._publisher is not None:
            try:
                await self._publisher.push(await self._departures.names(transfer.root))
            except StoreUnavailable as error:
                # Both lists are compared when it answers again.
                self.log.warn("The MUPDATE master could not be told: {error}", error=str(error))
        with suppress(MailStoreError):
            await self._disclaim(replace(transfer, error=reason))

    async def _disclaim(self, transfer: Outgoing) -> None:
        """Have the other server forget what it was sent."""
        link = await self._connect(transfer)
        try:
            await link.give_up()
        except MailboxNotFound:
            pass
        finally:
            link.close()
        await self._transfers.note(transfer.transfer_id, Leaving.FAILED, transfer.error)

    # --- the end --------------------------------------------------------

    async def _finish(self, transfer: Outgoing, link: PeerLink) -> None:
        """
        Have the mailboxes be the other server's, and remove what is here.

        @raise TransferFailed: They are here again.
        @raise StoreUnavailable: It is not known, or is not all done; it is tried again.
        """
        if transfer.state is Leaving.DECIDED:
            await self._decide(transfer, link)
            await self._transfers.note(transfer.transfer_id, Leaving.MOVED)
        await self._have_published(transfer, link)
        await self._transfers.depart([entry.unique_id for entry in await self._departures.held(transfer.root)])
        await self._departures.remove(transfer.root)
        await self._transfers.note(transfer.transfer_id, Leaving.DONE)
        self.log.info("{mailbox} was moved to {server}", mailbox=internal(transfer.root), server=transfer.server)
        with suppress(MailStoreError):
            await link.forget()

    async def _decide(self, transfer: Outgoing, link: PeerLink) -> None:
        names = await self._names_of(transfer)
        try:
            await link.activate(transfer.root, names)
            return
        except (MailboxNotFound, TransferFailed) as error:
            reason = _reason(error)
            state = await link.state()
            if state == "active":
                return
            # Where it is still prepared, it is another mailbox of that name that the master has there.
            if not (state and link.keeps_record) and await self._are_elsewhere(names):
                return
        except StoreUnavailable as error:
            await self._transfers.note(transfer.transfer_id, Leaving.DECIDED, str(error))
            reason = "the other server did not answer; it is asked again until it does"
            raise TransferFailed(reason, is_temporary=True) from error
        # It said no, and knows that it has nothing.
        await link.give_up()
        await self._undo(transfer, reason)
        raise TransferFailed(reason)

    async def _have_published(self, transfer: Outgoing, link: PeerLink) -> None:
        """Wait until the Murder's master has the mailboxes there: till then they must not be unknown."""
        if self._publisher is None:
            return
        names = await self._names_of(transfer)
        for _ in range(_PUBLISHED_WITHIN):
            if await self._are_elsewhere(names):
                return
            await link.publish(transfer.root, names)
        raise StoreUnavailable("the MUPDATE master does not know of the mailboxes there yet")

    async def _are_elsewhere(self, names: Sequence[MailboxName]) -> bool:
        return self._publisher is not None and await self._publisher.are_elsewhere(names)

    async def _names_of(self, transfer: Outgoing) -> list[MailboxName]:
        return [entry.name for entry in await self._departures.held(transfer.root)]

    # --- this process ---------------------------------------------------

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("Nobody looks for transfers that broke off any more, or tells how far one is", failure)

    def close(self) -> None:
        """Stop; what is on its way is gone on with by whoever comes."""
        self._is_closed = True
        self._tasks.cancel_all()
        self._transfers.close()


def _reason(error: MailStoreError) -> str:
    text = getattr(error, "reason", "") or str(error) or type(error).__name__
    return f"{text}: reconstruct the mailbox first" if isinstance(error, MailboxCorrupted) else text


def _demand(identity: Identity) -> None:
    if identity.admin is not AdminScope.GLOBAL:
        raise PermissionDenied("mailboxes move by administrators of all domains")
