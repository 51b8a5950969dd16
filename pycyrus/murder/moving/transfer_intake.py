"""What another server says over one connection, while mailboxes come from there."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.errors import OperationNotSupported, TransferFailed
from pycyrus.interfaces import IMailboxPublisher, ITransferIntake
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import BadTransfer, decode_pieces, read_name
from pycyrus.murder.moving.abandoned import abandon
from pycyrus.store.incoming import Arrivals, IncomingTransfer
from pycyrus.store.transfer_log import Coming

Belongings = Callable[[MailboxName], Awaitable[list[MailboxName]]]


@implementer(ITransferIntake)
class TransferIntake:
    """
    One connection's steps.

    @param publisher: None where there is no Murder.
    @param belongings: What moves at once with a root, as it is here.
    """

    log = Logger()

    def __init__(self, arrivals: Arrivals, publisher: IMailboxPublisher | None, belongings: Belongings) -> None:
        self._arrivals = arrivals
        self._publisher = publisher
        self._belongings = belongings
        self._transfer: IncomingTransfer | None = None

    async def do(self, verb: str, transfer_id: str, argument: bytes, data: bytes) -> bytes:
        """See L{ITransferIntake.do}."""
        step = _STEPS.get(verb)
        if step is None:
            raise OperationNotSupported(verb)
        try:
            answer = await step(self, transfer_id, argument, data)
        except (BadTransfer, ValueError, TypeError, KeyError) as error:
            self.log.warn("what another server sent of a transfer is none: {error}", error=str(error))
            raise TransferFailed(f"not understood: {error}") from error
        return json.dumps(answer).encode("ascii")

    async def _begin(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        fields = json.loads(argument)
        root, partition = read_name(fields["root"]), str(fields["partition"])
        await self._drop()
        self._transfer = await self._arrivals.begin(transfer_id, root, partition or None)
        return {"partition": self._transfer.partition}

    def _current(self, transfer_id: str) -> IncomingTransfer:
        if self._transfer is None or self._transfer.transfer_id != transfer_id:
            raise TransferFailed("no such transfer on this connection")
        return self._transfer

    async def _pieces(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        await self._arrivals.write(self._current(transfer_id), decode_pieces(argument), data)
        return {}

    async def _sync(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        await self._arrivals.sync(self._current(transfer_id))
        return {}

    async def _prepare(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        digest = await self._arrivals.prepare(self._current(transfer_id))
        await self._drop()
        return {"digest": digest.hex()}

    async def _activate(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        await self._arrivals.activate(transfer_id)
        return {}

    async def _publish(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        if self._publisher is not None:
            await self._publisher.push(await self._belongings(read_name(json.loads(argument)["root"])))
        return {}

    async def _state(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        state = self._arrivals.state(transfer_id)
        if state is None:
            # What was written down of it may be lost.
            root = json.loads(argument).get("root", "")
            state = Coming.ACTIVE if root and self._arrivals.is_here(str(root)) else None
        return {"state": "" if state is None else state.value}

    async def _abort(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        if self._transfer is not None and self._transfer.transfer_id == transfer_id:
            await self._drop()
        await self._arrivals.give_up(transfer_id)
        return {}

    async def _forget(self, transfer_id: str, argument: bytes, data: bytes) -> dict[str, Any]:
        await self._arrivals.forget(transfer_id)
        return {}

    async def _drop(self) -> None:
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            await self._arrivals.leave(transfer)

    def leave(self) -> None:
        """See L{ITransferIntake.leave}."""
        if self._transfer is not None:
            abandon(self._drop(), self.log)


_Step = Callable[[TransferIntake, str, bytes, bytes], Awaitable[dict[str, Any]]]
_STEPS: dict[str, _Step] = {
    "BEGIN": TransferIntake._begin,
    "PIECES": TransferIntake._pieces,
    "SYNC": TransferIntake._sync,
    "PREPARE": TransferIntake._prepare,
    "ACTIVATE": TransferIntake._activate,
    "PUBLISH": TransferIntake._publish,
    "STATE": TransferIntake._state,
    "ABORT": TransferIntake._abort,
    "FORGET": TransferIntake._forget,
}
