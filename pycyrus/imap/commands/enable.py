"""ENABLE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.wire.grammar import BadSyntax

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.grammar import Cursor

EXTENSIONS: dict[bytes, tuple[bytes, ...]] = {
    b"CONDSTORE": (b"CONDSTORE",),
    b"QRESYNC": (b"QRESYNC", b"CONDSTORE"),
    b"IMAP4REV2": (b"IMAP4REV2",),
    b"UTF8=ACCEPT": (b"UTF8=ACCEPT",),
    b"UIDONLY": (b"UIDONLY",),
}
"""What can be enabled, and what that switches on (RFC 7162 section 3.2.3)."""
MAX_NAMES = 100
_SPELLING = {b"IMAP4REV2": b"IMAP4rev2"}


def parse_enable(cursor: Cursor) -> tuple[bytes, ...]:
    """C{enable}, behind C{ENABLE}: names in upper case."""
    names: list[bytes] = []
    while not names or not cursor.at_end():
        if len(names) >= MAX_NAMES:
            raise BadSyntax(b"Too many arguments")
        cursor.space()
        names.append(cursor.atom().upper())
    return tuple(names)


async def enable(session: Session, names: tuple[bytes, ...]) -> None:
    """
    Switch extensions on, ignoring those that are not known (RFC 9051 section 6.3.1).

    Also while a mailbox is selected: RFC 5161 section 3.1 leaves it to the
    server to mind.
    """
    told = [name for name in dict.fromkeys(names) if name in EXTENSIONS]
    is_new_to_modseqs = b"CONDSTORE" not in session.enabled
    for name in told:
        session.enabled.update(EXTENSIONS[name])
    session.write(b"* ENABLED%b\r\n" % b"".join(b" " + _SPELLING.get(name, name) for name in told))
    if is_new_to_modseqs and b"CONDSTORE" in session.enabled and session.selected is not None:
        # RFC 7162 section 3.1: the client needs to know where it stands.
        session.write(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % session.selected.mailbox.highest_modseq())
