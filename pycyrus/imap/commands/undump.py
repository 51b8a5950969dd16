"""
UNDUMP: a mailbox that comes from a server that knows of no replication.

Its argument is a list of any length, with files in it, which are taken as they come.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pycyrus.errors import MailStoreError, OperationNotSupported, PermissionDenied, TransferFailed
from pycyrus.imap.commands.arriving import LARGEST_FILE, octets, take_file
from pycyrus.imap.commands.changing import demand_changes_allowed
from pycyrus.imap.replies import Bad, Bye, No
from pycyrus.model.identity import AdminScope

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.interfaces import IDumpIntake

_LONGEST_LINE = 65_536
_LONGEST_STRING = 1 << 20
_MOST_VALUES = 1000
_LITERAL = re.compile(rb"\{([0-9]{1,12})(\+?)\}\Z")
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*+)"|([^ ()"{}]++)')
_ESCAPED = re.compile(rb"\\(.)")
_LIMIT = "STORAGE"
_LIMITS = "X-QUOTA"


async def undump(session: Session, command: None) -> None:
    """
    Fill a mailbox that LOCALCREATE made.

    @raise MailStoreError: It is as it was.
    """
    arguments = _Arguments(session)
    await arguments.begin()
    failure: MailStoreError | None = None
    intake: IDumpIntake | None = None
    mailbox = await arguments.string()
    try:
        intake = await _intake(session, mailbox)
    except MailStoreError as error:
        failure = error
    try:
        failure = await _take(arguments, intake) or failure
        if failure is not None:
            raise failure
        assert intake is not None
        await intake.finish()
    except TransferFailed as error:
        raise No(error.reason.encode("ascii", "replace") or b"Mailbox did not come", b"CANNOT") from error
    finally:
        if intake is not None:
            await intake.leave()


async def _intake(session: Session, mailbox: bytes) -> IDumpIntake:
    if session.user.admin is not AdminScope.GLOBAL:
        raise PermissionDenied("an administrator's")
    if session.transfers is None:
        raise OperationNotSupported("mailboxes do not move here")
    demand_changes_allowed(session)
    name = session.names.decode(mailbox, utf8=session.is_utf8)
    return await session.transfers.undump(session.user, name)


async def _take(arguments: _Arguments, intake: IDumpIntake | None) -> MailStoreError | None:
    """
    Take all to its end, also what nobody wants: the other server sends it without being asked.

    @return: Why it was not taken.
    """
    failure: MailStoreError | None = None
    await arguments.expect(b"(")
    limit = await arguments.string()
    if intake is not None and limit.isdigit():
        intake.fields(_LIMITS, [_LIMIT.encode("ascii"), limit])
    while not await arguments.closes():
        name = (await arguments.string()).decode("utf-8", "replace")
        wanted = intake if failure is None else None
        try:
            if await arguments.opens():
                values = await arguments.values()
                if wanted is not None:
                    wanted.fields(name, values)
            else:
                await arguments.file(name, wanted)
        except MailStoreError as error:
            failure = failure or error
    arguments.end()
    return failure


class _Arguments:
    """
    Reads what stands behind the command, bit by bit.

    @ivar _text: What is left of a line.
    @ivar _size: Of the literal that it announces; None if it does not.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._text = b""
        self._size: int | None = None
        self._waits = False

    async def begin(self) -> None:
        """Read the first line."""
        line = await self._session.dialogue.read_long_line(_LONGEST_LINE)
        found = _LITERAL.search(line)
        self._text = (line if found is None else line[: found.start()]).strip(b" ")
        self._size = None if found is None else int(found[1])
        self._waits = found is not None and not found[2]
        if self._size is not None and self._size > LARGEST_FILE:
            raise Bye(b"[TOOBIG] Too much at once")

    async def string(self) -> bytes:
        """
        An atom, a quoted string, or a literal.

        @raise Bad: There is none.
        """
        if not self._text:
            return b"".join([data async for data in self._literal(_LONGEST_STRING)])
        found = _TOKEN.match(self._text)
        if found is None:
            raise Bad(b"Invalid argument to Undump")
        self._text = self._text[found.end() :].lstrip(b" ")
        return _ESCAPED.sub(rb"\1", found[1]) if found[1] is not None else found[2]

    async def _literal(self, most: int) -> AsyncIterator[bytes]:
        size, self._size = self._size, None
        if size is None:
            raise Bad(b"Missing required argument to Undump")
        if size > most:
            raise Bye(b"[TOOBIG] Too much at once")
        if self._waits:
            self._session.write(b"+ go ahead\r\n")
            await self._session.drain()
        async for data in octets(self._session, size):
            yield data
        await self.begin()

    async def expect(self, mark: bytes) -> None:
        """@raise Bad: Something else stands here."""
        if not self._text.startswith(mark):
            raise Bad(b"Missing parenthesis in Undump")
        self._text = self._text[1:].lstrip(b" ")

    async def opens(self) -> bool:
        """Whether a list begins."""
        if not self._text.startswith(b"("):
            return False
        await self.expect(b"(")
        return True

    async def closes(self) -> bool:
        """Whether a list ends."""
        if not self._text.startswith(b")"):
            return False
        await self.expect(b")")
        return True

    async def values(self) -> list[bytes]:
        """What stands in a list; @raise Bad: Too much does."""
        values: list[bytes] = []
        while not await self.closes():
            if len(values) >= _MOST_VALUES:
                raise Bad(b"Too many values in Undump")
            values.append(await self.string())
        return values

    async def file(self, name: str, intake: IDumpIntake | None) -> None:
        """
        Take a file, and its octets in any case.

        @raise MailStoreError: It could not be taken.
        """
        if self._text:
            if (await self.string()) and intake is not None:
                raise TransferFailed(f"{name} is no file")
            return
        begun = intake.file(name, self._size or 0) if intake is not None else None
        await take_file(begun, self._literal(LARGEST_FILE))

    def end(self) -> None:
        """@raise Bad: Something is left."""
        if self._text or self._size is not None:
            raise Bad(b"Unexpected extra arguments to Undump")
