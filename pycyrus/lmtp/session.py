"""
The state of one LMTP connection, without its socket (RFC 2033).

Octets come in by L{LmtpSession.receive}; what goes out, and everything else
that a transport does, goes through L{Link}.  Commands run strictly one after
another; while one waits, what arrives is kept, within limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailStoreError, MessageTooLarge, StoreUnavailable
from pycyrus.interfaces import (
    Authenticated,
    Channel,
    Envelope,
    IAuthenticator,
    IDelivery,
    IDeliveryAgent,
    KeyingMaterial,
)
from pycyrus.lmtp import replies
from pycyrus.lmtp.binary import BinaryBody
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.lmtp.wire import MAX_LINE, MAX_SASL_LINE, MailFrom, Reply
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.view import LARGEST_MESSAGE
from pycyrus.sasl import SaslDialogue
from pycyrus.tasks import Tasks
from pycyrus.wire.dots import DotReader

T = TypeVar("T")

MAX_WAITING = 65536
"""Octets kept while a command waits; then the transport is paused."""
LINES_AT_ONCE = 100
"""Commands run before other connections have their turn."""


class Link(Protocol):
    """What a session asks of its connection."""

    def write(self, data: bytes) -> None:
        """Send octets."""

    def pause(self) -> None:
        """Read nothing until C{resume}."""

    def resume(self) -> None:
        """Read again."""

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function after others had their turn."""

    def in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        """Have something computed that takes long, where other connections go on meanwhile."""

    def start_tls(self) -> None:
        """Begin the server's side of a TLS handshake, after what was written."""

    def logged_in(self, user_id: str) -> None:
        """
        Count the connection for a user.

        @raise LimitExceeded: The user has too many.
        """

    def close(self) -> None:
        """Close the connection once all was sent."""


@dataclass(frozen=True, slots=True)
class Peer:
    """
    The two ends of a connection.

    @ivar address: The client's, for logs and limits; empty on a Unix socket.
    @ivar local_address: Ours; likewise.
    """

    address: str = ""
    local_address: str = ""

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


class LmtpSession:
    """
    One connection.

    @param run: Finds and runs the command of a line.
    @param new_session_id: Makes ids for logs and replies.
    @param clock: Seconds; for time limits.
    @param tls_available: STARTTLS can be offered.
    """

    log = Logger()

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
        clock: Callable[[], float],
        tls_available: bool = False,
        tls_exporter: Callable[[], KeyingMaterial | None] = lambda: None,
        client_certificate: Callable[[], bytes | None] | None = None,
    ) -> None:
        self.agent = agent
        self.authenticator = authenticator
        self.settings = settings
        self.peer = peer
        self.tls_available = tls_available
        self.tls = False
        self.client_name = ""
        self.identity: Identity | None = POSTMAN if settings.preauthenticated else None
        self.transaction: Transaction | None = None
        self.exchange: SaslDialogue | None = None
        self.chunk: Chunk | None = None
        self.session_id = new_session_id()
        self._new_session_id = new_session_id
        self._clock = clock
        self._link = link
        self._run = run
        self._tls_exporter = tls_exporter
        self._client_certificate = client_certificate
        self._tasks = Tasks(self._flush)
        self._waiting = b""
        self._position = 0
        self._working = False
        self._queueing = False
        self._paused = False
        self._closed = False
        self._errors = 0
        self._last_word: Reply | None = None
        self._output: list[bytes] = []
        self._connected_at = self._heard_at = clock()

    # --- what the protocol calls ------------------------------------------------

    def greet(self) -> None:
        """Send the greeting (RFC 5321 section 4.3.1)."""
        product = f" {self.settings.product}" if self.settings.product else ""
        self.send(Reply(220, "", (f"{self.settings.server_name}{product} server ready",)))
        self._flush()

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""
        if self._closed:
            return
        self._heard_at = self._clock()
        if self._position:
            self._waiting, self._position = self._waiting[self._position :], 0
        self._waiting = self._waiting + data if self._waiting else data
        # Whoever pipelines much waits for its turn like all others.
        if not self._queueing:
            self._continue()
        if (
            (self._working or self._queueing)
            and not self._paused
            and len(self._waiting) - self._position >= MAX_WAITING
        ):
            self._paused = True
            self._link.pause()

    def lost(self) -> None:
        """
        The connection is gone.

        A delivery whose body was complete goes on: the sender may not know
        how it ended, and does not lose it either way.
        """
        self._closed = True
        self._waiting = b""
        transaction = self.transaction
        if transaction is not None and transaction.committing:
            return
        self._tasks.cancel_all()
        self._end_transaction()

    def check_time(self) -> float:
        """
        Enforce the time limits.

        @return: Seconds after which to look again.
        """
        now = self._clock()
        limits = [(self._heard_at + self.settings.idle_timeout, "Timed out")]
        if self.identity is None:
            limits.append((self._connected_at + self.settings.login_timeout, "Login took too long"))
        if self.transaction is not None:
            limits.append((self.transaction.began + self.settings.transaction_timeout, "Transaction took too long"))
        until, reason = min(limits)
        if self._working:
            # Whatever takes so long, it is not the client.
            return max(until - now, 1.0)
        if until > now:
            return until - now
        self.end(replies.timed_out(reason))
        return self.settings.idle_timeout

    def shut_down(self) -> None:
        """End the session, but not in the middle of a delivery's commit."""
        if self._working:
            self._last_word = replies.SHUTTING_DOWN
        else:
            self.end(replies.SHUTTING_DOWN)

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
            tls=self.tls,
            local_address=self.peer.local_address,
            session_id=self.session_id,
            tls_exporter=self._tls_exporter() if self.tls else None,
            client_certificate=self._client_certificate if self.tls else None,
        )

    def send(self, reply: Reply) -> None:
        """Answer; replies to pipelined commands go out together (RFC 2920 section 3.2)."""
        self._output.append(reply.encode())

    def count_error(self) -> None:
        """Note a command that made no sense, or a failed login."""
        self._errors += 1

    def renew_session_id(self) -> None:
        """Begin a new session in the words of the logs."""
        self.session_id = self._new_session_id()

    def begin_transaction(self, mail: MailFrom) -> None:
        """MAIL was accepted."""
        identity = self.identity
        assert identity is not None
        protocol = "UTF8" * mail.utf8 + "LMTP" + "S" * self.tls + "A"
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
        )
        self.transaction = Transaction(mail, self.agent.start(envelope), self._clock())

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
        self._flush()
        self._waiting, self._position = b"", 0
        self.client_name = ""
        self.exchange = None
        self.tls = True
        self._link.start_tls()

    def authenticated(self, result: Authenticated, mechanism: str) -> None:
        """
        The client has proved who it is.

        @raise LimitExceeded: That user has too many connections.
        """
        self._link.logged_in(result.identity.user_id)
        self.identity = result.identity
        self.log.info(
            "login: {peer} {user} {mechanism} User logged in SESSIONID=<{session}>",
            peer=self.peer.address,
            user=result.identity.user_id,
            mechanism=f"{mechanism}+TLS" if self.tls else mechanism,
            session=self.session_id,
        )

    def end(self, reply: Reply) -> None:
        """Say a last word and close."""
        if self._closed:
            return
        self.send(reply)
        self._flush()
        self._closed = True
        self._waiting = b""
        self._end_transaction()
        self._link.close()

    # --- the work --------------------------------------------------------------------

    def _continue(self) -> None:
        if not self._working and not self._closed:
            self._working = True
            self._tasks.spawn(self._work(), self._crashed)

    async def _work(self) -> None:
        """Run what has arrived; ends when more is needed of the client."""
        lines = 0
        try:
            while not self._closed and self._last_word is None:
                if self.chunk is not None:
                    if not await self._read_chunk(self.chunk):
                        break
                elif self.transaction is not None and self.transaction.reader is not None:
                    if not await self._read_body(self.transaction, self.transaction.reader):
                        break
                elif lines >= LINES_AT_ONCE:
                    self._queueing = True
                    self._link.soon(self._next_turn)
                    break
                else:
                    line = self._take_line()
                    if line is None:
                        break
                    lines += 1
                    await self._command(line)
        finally:
            self._working = False
            self._heard_at = self._clock()
        if self._last_word is not None:
            self.end(self._last_word)
        self._flush()
        if self._paused and not self._closed and not self._queueing:
            self._paused = False
            self._link.resume()

    def _next_turn(self) -> None:
        self._queueing = False
        self._continue()

    def _take_line(self) -> bytes | None:
        is_sasl = self.exchange is not None or self._waiting[self._position : self._position + 5].upper() == b"AUTH "
        # RFC 4954 section 4: tickets and tokens need room, also as initial responses.
        limit = MAX_SASL_LINE if is_sasl else MAX_LINE
        end = self._waiting.find(b"\r\n", self._position, self._position + limit)
        if end < 0:
            if len(self._waiting) - self._position >= limit:
                self.end(replies.LINE_TOO_LONG)
            return None
        line = self._waiting[self._position : end]
        self._position = end + 2
        return line

    async def _command(self, line: bytes) -> None:
        reply = await self._run(self, line)
        if reply is not None and not self._closed:
            self.send(reply)
        if self._errors > self.settings.max_errors:
            self.end(replies.TOO_MANY_ERRORS)

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
                await transaction.binary.pass_on(transaction.delivery, self._link.in_thread, self._others)
            except StoreUnavailable as error:
                return [error] * transaction.recipients
        return await transaction.delivery.commit()

    async def _others(self) -> None:
        """Let other connections have their turn."""
        turn: Deferred[None] = Deferred()
        self._link.soon(lambda: turn.callback(None))
        await turn

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

    def _flush(self) -> None:
        if self._output and not self._closed:
            self._link.write(b"".join(self._output))
        self._output.clear()

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("{session_id}: session ended by an error", failure, session_id=self.session_id)
        self.end(replies.INTERNAL_ERROR)
