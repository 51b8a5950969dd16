"""Notices to a program of the administrator's (C{notify_external})."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.notices.forms import Notice
from pycyrus.notices.losses import Losses
from pycyrus.notices.queue import Refused, SendQueue

METHOD = "external"
"""The method that is this program, as it is notifyd's."""
TIME_LIMIT = 30.0
"""Seconds until a program that does not end is killed."""


class ExternalProgram:
    """
    Runs the program for each notice, one after another.

    As notifyd does: with C{-c class -p priority -u user -m mailbox -f file}, of which what there is not is
    empty; the text is its standard input.
    """

    def __init__(self, path: str, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self.losses = Losses(path)
        self._queue: SendQueue[Notice] = SendQueue(self._run, reactor, self.losses)

    def send(self, notice: Notice) -> None:
        """Have the program run."""
        self._queue.put(notice, len(notice.text) + 512)

    async def close(self) -> None:
        """Run it no more."""
        await self._queue.close()

    async def _run(self, notice: Notice) -> None:
        arguments = [self._path]
        for letter, value in (
            ("-c", notice.kind),
            ("-p", notice.priority),
            ("-u", notice.user),
            ("-m", notice.mailbox),
            ("-f", ""),
        ):
            arguments += [letter, value.replace("\0", "")]
        run = _Run(notice.text.encode("utf-8", "replace"))
        try:
            process = self._reactor.spawnProcess(
                run, self._path, arguments, env={"PATH": "/usr/bin:/bin"}, childFDs={0: "w", 1: "r", 2: "r"}
            )
        except OSError as error:
            raise Refused(error.strerror or "cannot be run") from error
        limit = self._reactor.callLater(TIME_LIMIT, _kill, process)
        try:
            await run.ended
        finally:
            if limit.active():
                limit.cancel()


def _kill(process: Any) -> None:
    try:
        process.signalProcess("KILL")
    except ProcessExitedAlready:
        return
    # A child of it may have its pipes still.
    process.loseConnection()


class _Run(ProcessProtocol):
    """
    One run; what the program writes is not looked at.

    @ivar ended: Fails with L{Refused} where the program failed.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.ended: Deferred[None] = Deferred(lambda _: self._stop())

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._text)
        transport.closeStdin()

    def _stop(self) -> None:
        if self.transport is not None:
            _kill(self.transport)

    @override
    def processEnded(self, reason: Failure) -> None:
        if self.ended.called:
            return
        if reason.check(ProcessDone):
            self.ended.callback(None)
        else:
            self.ended.errback(Refused(f"the program failed: {reason.getErrorMessage()}"))
