"""Access control lists as text, with the rights letters of RFC 4314 and RFC 2086."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from functools import lru_cache

from pycyrus.model.acl import Acl

RIGHTS_ORDER = "lrswipkxtean0123456789"
"""The order in which rights are written; RFC 4314's letters only."""

OldRights = Mapping[str, str]
"""What the letters of RFC 2086 stand for."""

OLD_RIGHTS: OldRights = {"c": "kx", "d": "te"}
"""RFC 4314 section 2.1.1, with C{x} under C{c}, as C{deleteright} has it by default."""
OLD_RIGHTS_OF_DELETE: Mapping[str, OldRights] = {"c": OLD_RIGHTS, "d": {"c": "k", "d": "xte"}}
"""By the letter that C{deleteright} names."""


class BadAcl(ValueError):
    """The text is not an access control list; the message is fit for a log."""


def parse_rights(text: str, old_rights: OldRights = OLD_RIGHTS) -> frozenset[str]:
    """
    Read rights; an old letter counts where none of those it stands for is given.

    @raise BadAcl: An unknown letter.
    """
    rights = set(text)
    for old, new in old_rights.items():
        if old in rights:
            rights.discard(old)
            if not rights & set(new):
                rights |= set(new)
    if rights - set(RIGHTS_ORDER):
        raise BadAcl("unknown right")
    return frozenset(rights)


def write_rights(rights: Iterable[str]) -> str:
    """Write rights in their order."""
    return "".join(sorted(rights, key=RIGHTS_ORDER.index))


_TOLD_ORDER = "lrswipkxtecdan0123456789"


def tell_rights(rights: Iterable[str], old_rights: OldRights = OLD_RIGHTS) -> str:
    """Write rights for a client: with each old letter of which any new one is held (RFC 4314 section 2.1.1)."""
    held = set(rights)
    old = {letter for letter, new in old_rights.items() if held & set(new)}
    return "".join(sorted(held | old, key=_TOLD_ORDER.index))


def acl_pairs(acl: Acl) -> tuple[tuple[str, str], ...]:
    """Identifiers with their rights as text."""
    return tuple((identifier, write_rights(rights)) for identifier, rights in acl.entries)


def write_acl(acl: Acl) -> str:
    """Identifier and rights of each entry, each with a tab behind it."""
    return "".join(f"{identifier}\t{rights}\t" for identifier, rights in acl_pairs(acl))


@lru_cache(maxsize=4096)
def parse_acl(text: str) -> Acl:
    """
    The reverse of L{write_acl}.

    @raise BadAcl: It is none.
    """
    fields = text.split("\t")
    if fields.pop() or len(fields) % 2:
        raise BadAcl("not pairs")
    identifiers = fields[::2]
    if not all(identifiers) or len(set(identifiers)) != len(identifiers):
        raise BadAcl("identifier missing or repeated")
    return Acl(tuple(zip(identifiers, map(parse_rights, fields[1::2]), strict=True)))


def may_grant(text: str, identifiers: Set[str], right: str) -> bool:
    """Whether a list as L{write_acl} wrote it may grant a right to one of some; quicker than to read all of it."""
    fields = text.split("\t")
    return any(
        right in rights and identifier in identifiers
        for identifier, rights in zip(fields[::2], fields[1::2], strict=False)
    )


def parse_default_acl(text: str) -> Acl:
    """
    Read the value of C{defaultacl}: pairs separated by spaces.

    @raise BadAcl: It is none; the message is fit for whoever wrote it.
    """
    words = text.split()
    for identifier, rights in zip(words[::2], [*words[1::2], ""], strict=False):
        if not rights or set(rights) - set(RIGHTS_ORDER) - set(OLD_RIGHTS):
            raise BadAcl(f"{identifier} is followed by no rights such as lrs")
    return parse_acl("".join(f"{word}\t" for word in words))
