"""
The way of a message from its envelope into mailboxes.

Recipients are verified when they are named; the body is staged as it comes,
once per partition; then each recipient's copy goes through L{STEPS}, all
recipients at a time, so that they share one group commit.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.delivery.headers import HeaderFilter, trace_fields
from pycyrus.delivery.recipients import Target, catchall_target, nearest, poster, resolve
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.delivery.staging import Stages
from pycyrus.delivery.suppression import DuplicateSuppression, Fingerprint, fingerprint_of
from pycyrus.errors import (
    InvalidMailboxName,
    MailboxDisabled,
    MailboxNotFound,
    MailStoreError,
    MessageRejected,
    OverQuota,
    PermissionDenied,
)
from pycyrus.interfaces import (
    Appended,
    Arrival,
    Envelope,
    IAutocreation,
    IDelivery,
    IDeliveryAgent,
    IDeliveryObserver,
    IMailbox,
    IMailStore,
    NewMessage,
    Recipient,
)
from pycyrus.model.acl import POST
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName, internal
from pycyrus.model.quota import Enforcement
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.tasks import gather
from pycyrus.wire.dots import crlf_ended

_SEEKER = Identity("delivery", admin=AdminScope.GLOBAL)
"""As whom names are compared: the postman sees no shared mailboxes."""


@dataclass(slots=True)
class Copy:
    """
    What one recipient gets.

    @ivar inbox: The user's INBOX; None for a shared mailbox.
    @ivar folder: What the detail names, if it is there and may be posted to.
    @ivar failure: Why there will be no copy, as far as that is known before
        the body came.
    """

    target: Target
    ignore_quota: bool
    inbox: IMailbox | None
    folder: IMailbox | None = None
    failure: MailStoreError | None = None

    def main(self) -> IMailbox:
        """The one that must be there, and have room, before the body comes."""
        mailbox = self.inbox or self.folder
        assert mailbox is not None
        return mailbox

    def mailboxes(self) -> list[IMailbox]:
        """Those that the copy may go to."""
        return [mailbox for mailbox in (self.folder, self.inbox) if mailbox is not None]


@implementer(IDelivery)
class Delivery:
    """One message on its way."""

    log = Logger()

    def __init__(
        self,
        store: IMailStore,
        settings: DeliverySettings,
        envelope: Envelope,
        clock: IReactorTime,
        suppression: DuplicateSuppression | None = None,
        observer: IDeliveryObserver | None = None,
        autocreation: IAutocreation | None = None,
    ) -> None:
        """@param suppression: None to deliver a message as often as it comes."""
        self.envelope = envelope
        self._autocreation = autocreation
        self._observer = observer
        self._suppression = suppression
        self._fingerprint = Fingerprint()
        self._store = store
        self._settings = settings
        self._clock = clock
        self._copies: dict[Target, Copy] = {}
        self._recipients: list[Copy] = []
        self._stages = Stages(store, single_instance=settings.single_instance)
        self._header: HeaderFilter | None = None
        self._rejected: MessageRejected | None = None
        self._delivered: list[str] = []

    # --- recipients -------------------------------------------------------------

    async def add_recipient(self, recipient: Recipient) -> None:
        """
        Accept a recipient; an address named twice gets one copy and two answers.

        @raise MailboxNotFound: As L{IDelivery}.
        @raise MailboxDisabled: The user gets no mail for now; not even a catchall does.
        """
        try:
            target = self._resolve(recipient)
            copy = self._copies.get(target)
            if copy is None:
                copy = await self._open(target, recipient)
        except MailboxDisabled:
            raise
        except MailStoreError:
            fallback = catchall_target(self._settings)
            if fallback is None or not self._may_deliver(fallback):
                raise
            copy = self._copies.get(fallback)
            if copy is None:
                copy = await self._open(fallback, recipient)
        self._recipients.append(copy)

    def _resolve(self, recipient: Recipient) -> Target:
        try:
            target = resolve(recipient, self._settings)
        except InvalidMailboxName as error:
            raise MailboxNotFound from error
        if not self._may_deliver(target):
            raise MailboxNotFound
        is_denied, owner = self._settings.is_denied, target.inbox.owner_id if target.inbox is not None else None
        if is_denied is not None and owner is not None and is_denied(owner):
            raise MailboxDisabled(owner)
        return target

    def _may_deliver(self, target: Target) -> bool:
        """Whether the client's own scope reaches there; senders' rights are another matter."""
        identity = self.envelope.identity
        return identity.postman or identity.administers(target.domain)

    async def _open(self, target: Target, recipient: Recipient) -> Copy:
        if target.inbox is not None:
            # Only the INBOX must be there; whether the folder is, shows later.
            inbox = await self._open_inbox(target.inbox)
            copy = Copy(target, recipient.ignore_quota, inbox)
        else:
            assert target.folder is not None
            folder = await self._open_for_post(target.folder)
            copy = Copy(target, recipient.ignore_quota, None, folder)
        try:
            await self._check_room(copy)
        except BaseException:
            copy.main().close()
            raise
        if target in self._copies:
            # Named again while the first was being opened.
            for mailbox in copy.mailboxes():
                mailbox.close()
            return self._copies[target]
        self._copies[target] = copy
        return copy

    async def _open_inbox(self, name: MailboxName) -> IMailbox:
        try:
            return await self._store.open(POSTMAN, name, POST)
        except MailboxNotFound:
            if self._autocreation is None or not await self._autocreation.mail_came(name):
                raise
        return await self._store.open(POSTMAN, name, POST)

    async def _check_room(self, copy: Copy) -> None:
        """
        See whether what is known of the message has room.

        @raise OverQuota: It has not.
        """
        if copy.ignore_quota:
            return
        try:
            if self._settings.strict_quota:
                await copy.main().check_quota(self.envelope.size or 0, 1)
            else:
                await copy.main().check_quota()
        except OverQuota:
            self._tell_over_quota(copy.main())
            raise

    def _tell_over_quota(self, mailbox: IMailbox) -> None:
        if self._observer is not None:
            self._observer.over_quota(mailbox.name, self.envelope.session_id, self.envelope.service)

    async def _open_for_post(self, name: MailboxName) -> IMailbox:
        """
        Open a mailbox whose ACL decides.

        @raise PermissionDenied: The sender may not post there.
        """
        sender = poster(self.envelope, name.domain, self._settings)
        try:
            asked = await self._store.open(sender, name, POST)
        except MailboxNotFound:
            nearest_name = await self._nearest(name)
            if nearest_name is None:
                raise
            name = nearest_name
            asked = await self._store.open(sender, name, POST)
        asked.close()
        return await self._store.open(POSTMAN, name, POST)

    async def _is_excluded(self, name: MailboxName) -> bool:
        excluded = self._settings.excluded_special_uses
        if not excluded or name.owner is None:
            return False
        listings = await self._store.list(POSTMAN, [ListScope(Namespace.OTHER, name.domain, name.owner)])
        uses = next((listing.special_use for listing in listings if listing.name == name), ())
        return not excluded.isdisjoint(use.lower() for use in uses)

    async def _nearest(self, name: MailboxName) -> MailboxName | None:
        if not self._settings.fuzzy_mailbox_match:
            return None
        namespace = Namespace.SHARED if name.owner is None else Namespace.OTHER
        listings = await self._store.list(_SEEKER, [ListScope(namespace, name.domain, name.owner)])
        return nearest(name, [listing.name for listing in listings if listing.exists])

    # --- the body ---------------------------------------------------------------

    async def begin(self) -> None:
        """
        Find where the copies go, and stage on each partition.

        @raise StoreUnavailable: No partition takes it.
        """
        for copy in self._copies.values():
            await self._open_folder(copy)
            for mailbox in copy.mailboxes():
                await self._stages.begin(mailbox)
        self._stages.check()
        now = self._clock.seconds()
        trace = trace_fields(self.envelope, self._settings, now)
        self._header = HeaderFilter(trace, self._settings, now, utf8=self.envelope.utf8)

    async def _open_folder(self, copy: Copy) -> None:
        """Open what the detail names; without it, or the right to post there, the INBOX it is."""
        folder = copy.target.folder
        if folder is None or copy.folder is not None:
            return
        try:
            opened = await self._open_for_post(folder)
            # One that is spelt alike may be meant, but has the special use, too.
            if await self._is_excluded(opened.name):
                opened.close()
            else:
                copy.folder = opened
        except (MailboxNotFound, PermissionDenied, InvalidMailboxName):
            pass
        except MailStoreError as error:
            # It may be there: better later than in the wrong place.
            copy.failure = error

    def write(self, data: bytes) -> None:
        """Take a piece of the body; bare LFs are mended here."""
        if self._rejected is not None or self._header is None:
            return
        if b"\0" in data:
            self._reject(MessageRejected("Message contains NUL characters"))
            return
        try:
            piece = self._header.feed(crlf_ended(data))
        except MessageRejected as error:
            self._reject(error)
        else:
            self._stages.write(piece)

    def _reject(self, error: MessageRejected) -> None:
        self._rejected = error
        self._stages.discard()

    async def commit(self) -> Sequence[Exception | None]:
        """Send each copy on its way; see L{IDelivery}."""
        try:
            return await self._commit()
        finally:
            self.abort()

    async def _commit(self) -> Sequence[Exception | None]:
        if self._rejected is None and self._header is not None:
            try:
                self._stages.write(self._header.finish())
            except MessageRejected as error:
                self._reject(error)
        if self._rejected is not None:
            self.log.info(
                "{session_id}: refused: {reason}", session_id=self.envelope.session_id, reason=self._rejected.reason
            )
            return [self._rejected for _ in self._recipients]
        await self._stages.finish()
        if self._suppression is not None and self._header is not None:
            self._fingerprint = fingerprint_of(self._header.header)
        copies = list(self._copies.values())
        outcomes = await gather([self._deliver(copy) for copy in copies])
        if self._delivered:
            # One event, as an event for each recipient costs more than their mailboxes do.
            self.log.info(
                "{session_id}: delivered a message from <{sender}> to {mailboxes}",
                session_id=self.envelope.session_id,
                sender=self.envelope.sender,
                mailboxes=", ".join(self._delivered),
            )
        results = {id(copy): self._result(copy, outcome) for copy, outcome in zip(copies, outcomes, strict=True)}
        return [results[id(copy)] for copy in self._recipients]

    async def _deliver(self, copy: Copy) -> None:
        if copy.failure is not None:
            raise copy.failure
        for step in STEPS:
            if await step(self, copy):
                return
        raise MailboxNotFound

    def _result(self, copy: Copy, outcome: Failure | None) -> Exception | None:
        if outcome is None:
            return None
        name = copy.target.folder or copy.target.inbox
        if outcome.check(MailStoreError):
            self.log.error(
                "{session_id}: not delivered to {mailbox}: {error}",
                session_id=self.envelope.session_id,
                mailbox=internal(name) if name is not None else "",
                error=repr(outcome.value),
            )
        error = outcome.value
        # Cancellation and the like are no outcome of a delivery.
        if not isinstance(error, Exception):
            outcome.raiseException()
        return error

    def abort(self) -> None:
        """Remove what was staged, and end the openings."""
        self._stages.discard()
        copies, self._copies = self._copies, {}
        for copy in copies.values():
            for mailbox in copy.mailboxes():
                mailbox.close()

    # --- steps ---------------------------------------------------------------------

    async def append(self, mailbox: IMailbox, *, ignore_quota: bool = False) -> Appended | None:
        """
        Put the message into a mailbox, durably.

        @param ignore_quota: As RCPT said.
        @return: None if the mailbox had it before.
        @raise MailStoreError: What the mailbox says.
        """
        enforcement = Enforcement.FULL if self._settings.strict_quota else Enforcement.LENIENT
        if ignore_quota:
            enforcement = Enforcement.NONE
        if self._suppression is None:
            return await self._append(mailbox, enforcement)
        return await self._suppression.deliver(mailbox, self._fingerprint, lambda: self._append(mailbox, enforcement))

    async def _append(self, mailbox: IMailbox, enforcement: Enforcement) -> Appended:
        staged = self._stages.staged(mailbox)
        message = NewMessage(staged, internaldate=self._header.delivered_at if self._header is not None else None)
        try:
            appended = await mailbox.append([message], enforcement=enforcement)
        except OverQuota:
            self._tell_over_quota(mailbox)
            raise
        self._delivered.append(f"{internal(mailbox.name)} {appended.uids[0]}")
        if self._observer is not None:
            envelope = self.envelope
            self._observer.delivered(
                Arrival(
                    mailbox.name,
                    appended.uids[0],
                    appended.uidvalidity,
                    staged.size,
                    envelope.sender,
                    envelope.session_id,
                    mailbox,
                    self._header.header if self._header is not None else b"",
                    envelope.service,
                )
            )
        return appended


async def into_folder(delivery: Delivery, copy: Copy) -> bool:
    """Deliver into the folder of the detail; if it was deleted meanwhile, the INBOX is next."""
    if copy.folder is None:
        return False
    try:
        await delivery.append(copy.folder, ignore_quota=copy.ignore_quota)
    except MailboxNotFound:
        return False
    return True


async def into_inbox(delivery: Delivery, copy: Copy) -> bool:
    """Deliver into the INBOX, whatever its ACL says."""
    if copy.inbox is None:
        return False
    await delivery.append(copy.inbox, ignore_quota=copy.ignore_quota)
    return True


STEPS: tuple[Callable[[Delivery, Copy], Coroutine[Any, Any, bool]], ...] = (into_folder, into_inbox)
"""What each copy goes through, in this order, until a step has dealt with it."""


@implementer(IDeliveryAgent)
class DeliveryAgent:
    """Delivers into the mailboxes of a store."""

    def __init__(
        self,
        store: IMailStore,
        settings: DeliverySettings,
        reactor: IReactorTime,
        suppression: DuplicateSuppression | None = None,
        observer: IDeliveryObserver | None = None,
        autocreation: IAutocreation | None = None,
    ) -> None:
        """@param autocreation: Who makes mailboxes for recipients that have none; None for nobody."""
        self._observer = observer
        self._autocreation = autocreation
        self._store = store
        self._settings = settings
        self._reactor = reactor
        self._suppression = suppression

    def start(self, envelope: Envelope) -> Delivery:
        """Begin a transaction."""
        return Delivery(
            self._store,
            self._settings,
            envelope,
            self._reactor,
            self._suppression,
            self._observer,
            self._autocreation,
        )
