"""
How a connection sends: at once where it may, and what the kernel does not take in order later.

Octets, regions of files and what is in pipes share one queue.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import main
from twisted.internet.tcp import Server
from twisted.logger import Logger
from typing_extensions import override

from pycyrus.net.file_region import FileRegion
from pycyrus.net.splicing import PipeRegion

if TYPE_CHECKING:
    from pycyrus.net.splicing import Pipe

READ_SIZE = 65536
"""Octets taken from a socket, or of a file, at a time."""

SEND_SIZE = 131072
"""Octets handed to one C{send}; queued pieces are joined up to about this."""

TURN_SIZE = 1048576
"""Octets that one connection sends before others have their turn."""

CORK_SIZE = 65536
"""Octets that a corked connection holds back before it sends all the same."""

# What os.sendfile says where it does not work: not for this kind of file or socket.
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE})


class SendingConnection(Server):
    """
    The writing side of a connection.

    What must be encrypted first waits in a queue of its own, C{_clear}, of which who has TLS makes octets for this one.
    """

    log = Logger()

    _queue: list[bytes | memoryview | FileRegion]
    _corks = 0
    _queued = 0
    _clear: list[bytes | memoryview | FileRegion] | None = None
    _clear_octets = 0

    @property
    def queued(self) -> int:
        """Octets written that the kernel has not taken yet."""
        return self._queued + self._clear_octets

    def cork(self) -> None:
        """Hold back what is written, so that it leaves together, until C{uncork}; may be nested."""
        self._corks += 1

    def uncork(self) -> None:
        """Send what was held back."""
        self._corks -= 1
        if not self._corks:
            if self._clear:
                self._encrypt()
            if self._queued:
                self._flush()

    def send_pipe(self, pipe: Pipe, length: int) -> None:
        """
        Send what is in a pipe, in order with what is written.

        If the socket does not take all of it now, the producer is paused until it has; the pipe
        must not be filled before.

        @param length: Octets, which are there already.
        """
        if not self.connected or self._writeDisconnected:
            return
        self._queue.append(PipeRegion(pipe, length))
        self._queued += length
        self._flush()
        producer: Any = self.producer
        if self._queued and producer is not None and not self.producerPaused and not self._aborting:
            self.producerPaused = True
            producer.pauseProducing()

    def _encrypt(self) -> None:
        """Make octets of what waits to be encrypted."""
        raise NotImplementedError

    def _send(self, data: bytes | memoryview) -> None:
        """Write to the socket, below TLS if there is any."""
        if not data or not self.connected or self._writeDisconnected:
            return
        size = len(data)
        if not self._corks and not self._queued and self._may_send_now():
            try:
                sent = self.socket.send(data)
            except OSError:
                # Not now, or never again: the reactor will find out which.
                sent = 0
            if sent == size:
                return
            data = memoryview(data)[sent:]
            size -= sent
        self._queue.append(data)
        self._queued += size
        if not self._corks:
            self.startWriting()
        elif self._queued >= CORK_SIZE:
            self._flush()
        self._maybePauseProducer()

    def _may_send_now(self) -> bool:
        # A pull producer is asked for more, and a connection is closed, by
        # doWrite: in these cases the reactor must get to call it.
        return not (self.disconnecting or self._writeDisconnecting or self._aborting) and (
            self.producer is None or self.streamingProducer
        )

    def _flush(self) -> None:
        """Send what the kernel takes now; the reactor sees to the rest."""
        if not self.connected or self._aborting:
            return
        if len(self._queue) == 1 and self._send_only():
            return
        waiting = not self._may_send_now() or self._drain() is not None
        if (waiting or self._queued or self._clear or self.producerPaused) and not self._aborting:
            self.startWriting()

    def _send_only(self) -> bool:
        """
        Send the only piece of the queue, as it is after most commands.

        @return: Whether that was all there is to do.
        """
        data = self._queue[0]
        if self._clear or self.producerPaused or type(data) is not bytes or not self._may_send_now():
            return False
        try:
            sent = self.socket.send(data)
        except OSError:
            # Why, is for those who send from the queue.
            return False
        self._queued -= sent
        if sent < len(data):
            self._queue[0] = memoryview(data)[sent:]
            return False
        self._queue.clear()
        return True

    @override
    def doWrite(self) -> Any:
        failed = self._drain()
        if failed is not None:
            return failed
        if not self._queued and self._clear:
            self._encrypt()
        if self._queued:
            return None
        self.stopWriting()
        if self.producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            self._corks += 1
            try:
                self.producer.resumeProducing()  # type: ignore[attr-defined] # IProducer does not declare it
            finally:
                self.uncork()
        elif self.disconnecting:
            return main.CONNECTION_DONE
        elif self._writeDisconnecting:
            # Before the protocol is told, which may call loseConnection.
            self._writeDisconnected = True
            self._closeWriteConnection()
        return None

    @override
    def _isSendBufferFull(self) -> bool:
        return self._queued + self._clear_octets > self.bufferSize

    @override
    def _maybePauseProducer(self) -> None:
        if self.producer is not None:
            Server._maybePauseProducer(self)

    @override
    def startWriting(self) -> None:
        self.reactor.addWriter(self)

    @override
    def stopWriting(self) -> None:
        self.reactor.removeWriter(self)

    # --- the queue ----------------------------------------------------------

    def _drain(self) -> Exception | None:
        """
        Send from the queue until the kernel takes no more, or the turn is over.

        @return: Why the connection is lost, if it is; the queue is kept then.
        """
        left = TURN_SIZE
        while self._queue and left > 0:
            try:
                sent = self._send_first(left)
            except BlockingIOError:
                return None
            except OSError as error:
                return None if error.errno == errno.ENOBUFS else main.CONNECTION_LOST
            self._queued -= sent
            left -= sent
        return None

    def _send_first(self, limit: int) -> int:
        """
        Send from what is at the head of the queue.

        @return: Octets sent.
        @raise OSError: As C{socket.send}.
        """
        queue = self._queue
        first = queue[0]
        if not isinstance(first, FileRegion):
            data = self._join(first)
            # Where a file follows, its first octets may share the packet.
            sent = self.socket.send(data, socket.MSG_MORE if len(queue) > 1 else 0)
            if sent == len(data):
                del queue[0]
            else:
                queue[0] = memoryview(data)[sent:]
            return sent
        if not first.copied:
            try:
                return self._take(first, first.send_to(self.fileno(), min(first.length, limit)))
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                first.copied = True
        try:
            data = first.read(min(first.length, READ_SIZE))
        except OSError as error:
            self._file_failed(error)
            raise BlockingIOError(errno.EAGAIN, "aborted") from error
        self._take(first, len(data))
        # Its octets were counted with the region's, and are not sent yet.
        queue.insert(0, data)
        return 0

    def _join(self, first: bytes | memoryview) -> bytes | memoryview:
        """Make one piece of the octets at the head of the queue."""
        queue = self._queue
        if len(queue) == 1 or len(first) >= SEND_SIZE:
            return first
        pieces: list[bytes | memoryview] = []
        size = 0
        for piece in queue:
            if isinstance(piece, FileRegion) or size >= SEND_SIZE:
                break
            pieces.append(piece)
            size += len(piece)
        data = b"".join(pieces)
        queue[: len(pieces)] = [data]
        return data

    def _take(self, region: FileRegion, count: int) -> int:
        """Move on in the file region at the head of the queue."""
        if not count:
            self._file_failed(OSError(errno.ENODATA, "file ends before the announced length"))
            raise BlockingIOError(errno.EAGAIN, "aborted")
        region.advance(count)
        if not region.length:
            region.close()
            del self._queue[0]
        return count

    def _file_failed(self, error: OSError) -> None:
        self.log.error("a file could not be sent to {peer}: {error}", peer=self.hostname, error=error)
        Server.abortConnection(self)
