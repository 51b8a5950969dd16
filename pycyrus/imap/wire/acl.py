"""Access control lists: arguments to values, and their responses (RFC 4314)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.model.acl_changes import AclAction
from pycyrus.model.acl_text import OLD_RIGHTS, BadAcl, OldRights, parse_rights, tell_rights

MAX_IDENTIFIER = 512


@dataclass(frozen=True, slots=True)
class MailboxIdentifier:
    """What DELETEACL and LISTRIGHTS are about."""

    mailbox: bytes
    identifier: str


@dataclass(frozen=True, slots=True)
class SetAcl:
    """
    A SETACL (RFC 4314 section 3.1).

    @ivar letters: Known ones, those of RFC 2086 among them.
    """

    mailbox: bytes
    identifier: str
    action: AclAction
    letters: str


def parse_setacl(cursor: Cursor) -> SetAcl:
    """C{setacl}, behind its name."""
    mailbox, identifier = _parse_pair(cursor)
    cursor.space()
    text = cursor.astring().decode("ascii", "replace")
    cursor.end()
    action = AclAction(text[:1]) if text[:1] in ("+", "-") and text else AclAction.REPLACE
    letters = text[len(action.value) :]
    for letter in letters:
        try:
            parse_rights(letter)
        except BadAcl:
            shown = letter.encode("ascii") if letter.isascii() and letter.isprintable() else b"?"
            raise BadSyntax(b"The %b right is not supported" % shown, names_command=False) from None
    return SetAcl(mailbox, identifier, action, letters)


def parse_mailbox_identifier(cursor: Cursor) -> MailboxIdentifier:
    """C{deleteacl} and C{listrights}, behind their names."""
    mailbox, identifier = _parse_pair(cursor)
    cursor.end()
    return MailboxIdentifier(mailbox, identifier)


def _parse_pair(cursor: Cursor) -> tuple[bytes, str]:
    cursor.space()
    mailbox = cursor.astring()
    cursor.space()
    octets = cursor.astring()
    try:
        identifier = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax(b"Invalid identifier") from None
    # It is kept in a list of words parted by tabs.
    if not identifier.strip("-") or len(octets) > MAX_IDENTIFIER or not identifier.isprintable() or "\t" in identifier:
        raise BadSyntax(b"Invalid identifier")
    return mailbox, identifier


def encode_acl(
    mailbox: bytes, entries: Sequence[tuple[str, frozenset[str]]], *, utf8: bool, old_rights: OldRights = OLD_RIGHTS
) -> bytes:
    """Write an ACL response (RFC 4314 section 3.6)."""
    pairs = b"".join(
        b" %b %b" % (astring(identifier.encode("utf-8"), utf8=utf8), encode_rights(rights, old_rights))
        for identifier, rights in entries
    )
    return b"* ACL %b%b\r\n" % (astring(mailbox, utf8=utf8), pairs)


def encode_myrights(mailbox: bytes, rights: Iterable[str], *, utf8: bool, old_rights: OldRights = OLD_RIGHTS) -> bytes:
    """Write a MYRIGHTS response (RFC 4314 section 3.8)."""
    return b"* MYRIGHTS %b %b\r\n" % (astring(mailbox, utf8=utf8), encode_rights(rights, old_rights))


def encode_listrights(
    mailbox: bytes,
    identifier: str,
    required: Iterable[str],
    optional: Iterable[str],
    *,
    utf8: bool,
    old_rights: OldRights = OLD_RIGHTS,
) -> bytes:
    """
    Write a LISTRIGHTS response (RFC 4314 section 3.7), with the letters of RFC 2086 as Cyrus has them.

    @param required: Rights that the identifier always has.
    @param optional: Rights that may be granted, each by itself.
    """
    always = tell_rights(required, old_rights)
    groups = b"".join(
        b" " + letter.encode("ascii") for letter in tell_rights(optional, old_rights) if letter not in always
    )
    name = astring(identifier.encode("utf-8"), utf8=utf8)
    return b"* LISTRIGHTS %b %b %b%b\r\n" % (
        astring(mailbox, utf8=utf8),
        name,
        always.encode("ascii") or b'""',
        groups,
    )


def encode_rights(rights: Iterable[str], old_rights: OldRights = OLD_RIGHTS) -> bytes:
    """Write rights with the letters of RFC 2086 that old clients look for (RFC 4314 section 2.1.1)."""
    return tell_rights(rights, old_rights).encode("ascii") or b'""'
