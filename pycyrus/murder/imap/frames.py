"""A client's command, on to another server as the client wrote it."""

from __future__ import annotations

from pycyrus.imap.wire.frames import Frame, Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.murder.servers.imap_link import ImapLink, Outlet
from pycyrus.murder.spool import Spool

_LITERAL_MINUS = 4096
"""RFC 7888 section 5: what may be sent without asking."""

_LONG_ANSWERS = (b"FETCH", b"UID FETCH")
"""Commands whose answers are passed on unseen, and never name the tag."""


async def send_frame(
    link: ImapLink, frame: Frame, outlet: Outlet, args: list[bytes | Literal] | None = None, tag: bytes = b""
) -> bytes | None:
    """
    Send a command.

    @param outlet: For what the server says meanwhile.
    @param args: What follows the name, if other.
    @param tag: If other than the client's.
    @return: The tagged line, if it refused a literal.
    @raise StoreUnavailable: The connection went.
    """
    tag = tag or frame.tag
    held: list[bytes] = [tag, b" ", frame.name]
    for piece in frame.args if args is None else args:
        if isinstance(piece, bytes):
            held.append(piece)
            continue
        staged = piece.staged
        data = piece.data
        size = staged.size if staged is not None else len(data)
        mark = b"~" if piece.binary else b""
        if b"LITERAL+" in link.capabilities or (b"LITERAL-" in link.capabilities and size <= _LITERAL_MINUS):
            held.append(b"%b{%d+}\r\n" % (mark, size))
        else:
            held.append(b"%b{%d}\r\n" % (mark, size))
            link.send(b"".join(held))
            held = []
            refusal = await link.go_ahead(tag, outlet)
            if refusal is not None:
                return refusal
        if isinstance(staged, Spool):
            link.send(b"".join(held))
            held = []
            await link.send_source(staged)
        else:
            held.append(data)
    held.append(b"\r\n")
    link.send(b"".join(held))
    return None


async def pass_on(
    link: ImapLink,
    frame: Frame,
    outlet: Outlet,
    within: float | None,
    args: list[bytes | Literal] | None = None,
) -> bytes:
    """
    Have a command done there; untagged responses go to the client as they are.

    @param within: Seconds of silence for which to wait.
    @return: The tagged line.
    @raise StoreUnavailable: The connection went.
    """
    if frame.name not in _LONG_ANSWERS:
        line = await send_frame(link, frame, outlet, args)
        return await link.relay(frame.tag, outlet, within) if line is None else line
    tag = link.secret_tag()
    line = await send_frame(link, frame, outlet, args, tag)
    if line is None:
        line = await link.relay(tag, outlet, within, may_splice=True)
    return frame.tag + line[len(tag) :]


def first_name(frame: Frame, *, utf8: bool) -> bytes | None:
    """The first argument, where that is a mailbox's name; None if it is not to be understood."""
    cursor = Cursor(frame.args, utf8=utf8)
    try:
        cursor.space()
        return cursor.astring()
    except BadSyntax:
        return None


def has_word(frame: Frame, *words: bytes) -> bool:
    """Whether one of some words, in upper case, stands among the arguments."""
    return any(word in piece.upper() for piece in frame.args if isinstance(piece, bytes) for word in words)


def is_ok(line: bytes) -> bool:
    """Whether a tagged line is an OK."""
    return line.partition(b" ")[2][:3].upper() == b"OK "
