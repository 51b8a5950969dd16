"""The state of one LMTP connection, without its socket (RFC 2033)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.errors import LimitExceeded, MailStoreError, MessageTooLarge, StoreUnavailable
from pycyrus.interfaces import (
    Authenticated,
    Channel,
    Envelope,
    IAuthenticator,
    IDelivery,
    IDeliveryAgent,
)
from pycyrus.lmtp import replies
from pycyrus.lmtp.binary import BinaryBody
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.lmtp.wire import MAX_LINE, MAX_SASL_LINE, MailFrom, Reply
from pycyrus.logins import log_login
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.view import LARGEST_MESSAGE
from pycyrus.net.line_session import Goodbye, LineSession
from pycyrus.net.peer_credentials import Credentials
from pycyrus.net.threads import in_thread
from pycyrus.sasl import SaslDialogue
from pycyrus.wire.dots import DotReader

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pycyrus.net.server_protocol import Link


@dataclass(frozen=True, slots=True)
class Peer:
    """
    The two ends of a connection.

    @ivar address: The client's, for logs and limits; empty on a Unix socket.
    @ivar local_address: Ours; likewise.
    @ivar credentials: Who opened the Unix socket.
    """

    address: str = ""
    local_address: str = ""
    credentials: Credentials | None = None

    @property
    def host(self) -> str:
        """As it stands in Received fields."""
        return f"[{self.address}]" if self.address else "[unix socket]"


@dataclass(slots=True)
class Transaction:
    """
    From MAIL to the end of the body.

    @ivar began: When, by the session's clock.
    @ivar recipients: How many were accepted.
    @ivar reader: Present while the body is received.
    @ivar size: Octets of the body so far.
    @ivar too_big: The rest of the body is only read, not kept.
    @ivar refused: How many recipients were not.
    @ivar chunked: The body comes by BDAT (RFC 3030).
    @ivar carriage_return: The last chunk ended with one, which is kept back.
    @ivar binary: Where the body waits until it can be taken apart, if it comes as BINARYMIME.
    @ivar committing: The body is complete and on its way to the disk.
    """

    mail: MailFrom
    delivery: IDelivery
    began: float
    recipients: int = 0
    reader: DotReader | None = None
    size: int = 0
    too_big: bool = False
    refused: int = 0
    chunked: bool = False
    carriage_return: bool = False
    binary: BinaryBody | None = None
    committing: bool = False


@dataclass(slots=True)
class Chunk:
    """
    Octets that follow a BDAT command.

    @ivar remaining: How many have not arrived.
    @ivar refusal: The answer when they have, if they are only read, not kept.
    """

    size: int
    last: bool
    remaining: int
    refusal: Reply | None = None


class LmtpSession(LineSession):
    """
    One connection.

    @param run: Finds and runs the command of a line.
    @param new_session_id: Makes ids for logs and replies.
    @param tls_available: STARTTLS can be offered.
    """

    log = Logger()
    farewells = replies.FAREWELLS

    def __init__(
        self,
        link: Link,
        peer: Peer,
        agent: IDeliveryAgent,
        authenticator: IAuthenticator,
        settings: LmtpSettings,
        run: Callable[[LmtpSession, bytes], Coroutine[Any, Any, Reply | None]],
        *,
        new_session_id: Callable[[], str],
        clock: IReactorTime,
        tls_available: bool = False,
    ) -> None:
        super().__init__(link, clock, settings, new_session_id())
        self.agent = agent
        self.authenticator = authenticator
        self.settings = settings
        self.peer = peer
        self.tls_available = tls_available
        self.client_name = ""
        self.identity: Identity | None = POSTMAN if settings.preauthenticated else None
        self.transaction: Transaction | None = None
        self.exchange: SaslDialogue | None = None
        self.chunk: Chunk | None = None
        self._new_session_id = new_session_id
        self._run = run
        self._waiting = b""
        self._position = 0

    # --- what the protocol calls ------------------------------------------------

    @override
    def greet(self) -> None:
        """Send the greeting (RFC 5321 section 4.3.1)."""
        if self.settings.preauthenticated:
            try:
                self._link.logged_in(POSTMAN.user_id)
            except LimitExceeded as limit:
                self.log.info("refused a connection from {peer}: {reason}", peer=self.peer.address, reason=limit.reason)
                self.refuse()
                return
            if self.peer.credentials is not None:
                self.log.info(
                    "login: [unix socket] {user} of uid {uid}, pid {pid} SESSIONID=<{session}>",
                    user=POSTMAN.user_id,
                    uid=self.peer.credentials.user_id,
                    pid=self.peer.credentials.pid,
                    session=self.session_id,
                )
        product = f" {self.settings.product}" if self.settings.product else ""
        self.send(Reply(220, "", (f"{self.settings.server_name}{product} server ready",)))
        self.flush()

    @override
    def keep(self, data: bytes) -> None:
        if self._position:
            self._waiting, self._position = self._waiting[self._position :], 0
        self._waiting = self._waiting + data if self._waiting else data

    @override
    def kept(self) -> int:
        return len(self._waiting) - self._position

    @override
    def lost(self) -> None:
        """
        The connection is gone.

        A delivery whose body was complete goes on: the sender may not know
        how it ended, and does not lose it either way.
        """
        if self.transaction is not None and self.transaction.committing:
            self.stop_clocks()
        else:
            super().lost()

    @override
    def flush(self) -> None:
        # While a chunk is on its way to the disk, what was said before can wait for the answer to it.
        transaction = self.transaction
        if transaction is None or not (transaction.committing and transaction.chunked):
            super().flush()

    @override
    def let_go(self) -> None:
        self._waiting, self._position = b"", 0
        self._end_transaction()

    @override
    def due(self, now: float) -> float:
        until, _ = self._limit()
        # While a command runs, it is not the client who is slow; and what is on its way to the disk is never cut off.
        is_committing = self.transaction is not None and self.transaction.committing
        return until if self._waits_for_client and not is_committing else max(until, now + 1.0)

    @override
    def expire(self) -> None:
        _, reason = self._limit()
        self.end(replies.timed_out(reason).line())
        self._tasks.cancel_all()

    def _limit(self) -> tuple[float, str]:
        """When the client must have gone on, and what it is told if it has not."""
        settings = self.settings
        limits = [(self._heard + settings.idle_timeout, "Timed out")]
        if self.identity is None:
            limits.append((self._opened + settings.login_timeout, "Login took too long"))
        if self.transaction is not None:
            limits.append((self.transaction.began + settings.transaction_timeout, "Transaction took too long"))
        return min(limits)

    # --- what commands use -------------------------------------------------------

    @property
    def trusted(self) -> bool:
        """Whether the connection may post mail."""
        return self.identity is not None

    def channel(self) -> Channel:
        """How the client is connected now."""
        return Channel(
            service=self.settings.service,
            peer=self.peer.address,
            tls=self.is_secure,
            local_address=self.peer.local_address,
            session_id=self.session_id,
            tls_exporter=self._link.tls_exporter(),
            client_certificate=self._link.client_certificate,
        )

    def send(self, reply: Reply) -> None:
        """Answer; replies to pipelined commands go out together (RFC 2920 section 3.2)."""
        self.write(reply.encode())

    def leave(self, reply: Reply) -> NoReturn:
        """
        End the session.

        @raise Goodbye: Always.
        """
        raise Goodbye(reply.line())

    def renew_session_id(self) -> None:
        """Begin a new session in the words of the logs."""
        self.session_id = self._new_session_id()

    def begin_transaction(self, mail: MailFrom) -> None:
        """MAIL was accepted."""
        identity = self.identity
        assert identity is not None
        protocol = "UTF8" * mail.utf8 + "LMTP" + "S" * self.is_secure + "A"
        envelope = Envelope(
            sender=mail.sender.encode(),
            size=mail.size,
            identity=identity,
            client_name=self.client_name or "unknown",
            client_host=self.peer.host,
            protocol=protocol,
            session_id=self.session_id,
            utf8=mail.utf8,
            auth=mail.auth,
            tls=self._link.tls_description() if self.is_secure else "",
            service=self.settings.service,
        )
        self.transaction = Transaction(mail, self.agent.start(envelope), self.clock.seconds())

    def reset_transaction(self) -> None:
        """Forget the transaction, if there is one (RFC 5321 section 4.1.1.5)."""
        self._end_transaction()

    def begin_body(self) -> None:
        """What follows is the body."""
        assert self.transaction is not None
        self.transaction.reader = DotReader()

    def start_tls(self) -> None:
        """
        Go over to TLS and forget all that was said before (RFC 3207 section 4.2).

        Octets that came with the command, unprotected, are forgotten too.
        """
        self._end_transaction()
        self.flush()
        self._waiting, self._position = b"", 0
        self.client_name = ""
        self.exchange = None
        self.is_secure = True
        self._link.start_tls()

    def authenticated(self, result: Authenticated, mechanism: str) -> None:
        """
        The client has proved who it is.

        @raise LimitExceeded: That user has too many connections.
        """
        self._link.logged_in(result.identity.user_id)
        self.identity = result.identity
        log_login(
            self.log,
            result,
            mechanism,
            peer=self.peer.address,
            is_secure=self.is_secure,
            session_id=self.session_id,
        )

    # --- the work --------------------------------------------------------------------

    @override
    async def step(self) -> bool:
        if self.chunk is not None:
            return await self._read_chunk(self.chunk)
        if self.transaction is not None and self.transaction.reader is not None:
            return await self._read_body(self.transaction, self.transaction.reader)
        line = self._take_line()
        if line is None:
            return False
        reply = await self._run(self, line)
        if reply is not None:
            self.send(reply)
        return True

    def _take_line(self) -> bytes | None:
        is_sasl = self.exchange is not None or self._waiting[self._position : self._position + 5].upper() == b"AUTH "
        # RFC 4954 section 4: tickets and tokens need room, also as initial responses.
        limit = MAX_SASL_LINE if is_sasl else MAX_LINE
        end = self._waiting.find(b"\r\n", self._position, self._position + limit)
        if end < 0:
            if len(self._waiting) - self._position >= limit:
                self.leave(replies.LINE_TOO_LONG)
            return None
        line = self._waiting[self._position : end]
        self._position = end + 2
        return line

    async def _read_body(self, transaction: Transaction, reader: DotReader) -> bool:
        """
        Hand on what has arrived of the body.

        @return: Whether it has ended.
        """
        arrived = self._waiting[self._position :] if self._position else self._waiting
        self._waiting, self._position = b"", 0
        if not arrived:
            return False
        content, self._waiting = reader.feed(arrived)
        self._hand_on(transaction, content)
        if not reader.ended:
            return False
        await self._end_of_body(transaction)
        return True

    async def _read_chunk(self, chunk: Chunk) -> bool:
        """
        Hand on what has arrived of a chunk (RFC 3030 section 2).

        @return: Whether all of it has.
        """
        arrived = self._waiting[self._position : self._position + chunk.remaining]
        self._position += len(arrived)
        chunk.remaining -= len(arrived)
        transaction = self.transaction
        if transaction is not None and chunk.refusal is None and arrived:
            # Line ends are looked at piece by piece, so none may be cut in two.
            if transaction.carriage_return:
                arrived = b"\r" + arrived
            transaction.carriage_return = arrived.endswith(b"\r")
            self._hand_on(transaction, arrived[:-1] if transaction.carriage_return else arrived)
        if chunk.remaining:
            return False
        self.chunk = None
        if chunk.refusal is not None or transaction is None:
            self.send(chunk.refusal or replies.NO_RECIPIENTS)
        elif not chunk.last:
            self.send(replies.chunk_received(chunk.size))
        else:
            if transaction.carriage_return:
                self._hand_on(transaction, b"\r")
            await self._end_of_body(transaction)
        return True

    def _hand_on(self, transaction: Transaction, content: bytes) -> None:
        transaction.size += len(content)
        if transaction.too_big:
            return
        if transaction.size > (self.settings.max_message_size or LARGEST_MESSAGE):
            transaction.too_big = True
            transaction.delivery.abort()
        else:
            (transaction.binary or transaction.delivery).write(content)

    async def _end_of_body(self, transaction: Transaction) -> None:
        """One reply for each accepted recipient, in their order (RFC 2033 section 4.2)."""
        if transaction.too_big:
            self.log.info(
                "{session_id}: refused a message of {size} octets", session_id=self.session_id, size=transaction.size
            )
            reply = replies.too_big(transaction.size, self.settings.max_message_size or LARGEST_MESSAGE)
            for _ in range(transaction.recipients):
                self.send(reply)
            self._end_transaction()
            return
        transaction.committing = True
        try:
            results = await self._commit(transaction)
        finally:
            transaction.committing = False
            self._end_transaction()
        self._errors = 0
        for error in results:
            self.send(self._result(error))

    async def _commit(self, transaction: Transaction) -> Sequence[Exception | None]:
        if transaction.binary is not None:
            try:
                await transaction.binary.pass_on(transaction.delivery, partial(in_thread, self.clock), self.others)
            except StoreUnavailable as error:
                return [error] * transaction.recipients
        return await transaction.delivery.commit()

    def _result(self, error: Exception | None) -> Reply:
        if error is None:
            return replies.delivered(self.session_id)
        if isinstance(error, MessageTooLarge):
            self.log.info("{session_id}: the store refused the size", session_id=self.session_id)
        elif not isinstance(error, MailStoreError):
            self.log.failure("{session_id}: delivery failed unexpectedly", Failure(error), session_id=self.session_id)
            error = MailStoreError()
        return replies.reply_to_error(
            error, session_id=self.session_id, over_quota_permanent=self.settings.over_quota_permanent
        )

    def _end_transaction(self) -> None:
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.delivery.abort()
            if transaction.binary is not None:
                transaction.binary.discard()
