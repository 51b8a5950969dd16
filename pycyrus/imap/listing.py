"""
What LIST and LSUB tell: from what may be seen and what is subscribed to, to lines.

No I/O; names are external ones throughout (RFC 9051 section 6.3.9, RFC 5258).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pycyrus.imap.wire.listing import Return, Selection
from pycyrus.interfaces import MailboxListing
from pycyrus.model.names import MailboxName
from pycyrus.model.namespace import INBOX

_BESIDE = ((), (INBOX,))
"""Paths of a user's mailboxes that are not the names' superiors of all that lies below them."""


@dataclass(slots=True)
class Line:
    """
    One name to tell.

    @ivar wire: External name.
    @ivar name: None for a name that only is a parent.
    @ivar listing: The mailbox; None where there is none that may be seen.
    @ivar is_parent_only: Told for what lies below alone.
    @ivar is_child_selected: Something below it is selected (CHILDINFO).
    """

    wire: bytes
    name: MailboxName | None = None
    listing: MailboxListing | None = None
    is_subscribed: bool = False
    is_parent_only: bool = False
    is_child_selected: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What the command asks for.

    @ivar matches: Whether a name matches one of the patterns.
    @ivar is_lsub: Old rules: parents of subscribed names are told as such.
    @ivar is_alternate: Own folders stand beside INBOX.
    @ivar tells_uses: Special uses are told even if nobody asks for them.
    """

    matches: Callable[[bytes], bool]
    selection: Selection
    returns: Return
    separator: bytes
    is_extended: bool
    is_lsub: bool = False
    is_alternate: bool = False
    tells_uses: bool = True


class Findings:
    """Collects lines, name by name, each in the place of its first mention."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._lines: dict[bytes, Line] = {}
        self._with_children: set[bytes] = set()
        # Looked at for every name, so once here.
        self._only_subscribed = bool(wanted.selection & Selection.SUBSCRIBED)
        self._only_special = bool(wanted.selection & Selection.SPECIAL_USE)
        self._is_recursive = bool(wanted.selection & Selection.RECURSIVEMATCH)
        self._tells_parents = wanted.is_lsub or not (self._only_subscribed or self._only_special)
        self._tells_subscribed = not wanted.is_lsub and (
            self._only_subscribed or bool(wanted.returns & Return.SUBSCRIBED)
        )
        self._tells_uses = wanted.tells_uses or self._only_special or bool(wanted.returns & Return.SPECIAL_USE)
        # Cyrus's clients are told whether or not they ask, but not by LSUB.
        self._tells_children = not wanted.is_lsub

    def add(self, line: Line) -> None:
        """Take a mailbox that may be seen, or a name that is subscribed to."""
        wanted = self._wanted
        if line.listing is not None:
            if line.listing.has_children and not self._lies_beside(line):
                # Where the domain stands at the end, the names alone do not show it.
                self._with_children.add(line.wire)
            for parent in parents(line.wire, wanted.separator):
                if parent in self._with_children:
                    break
                self._with_children.add(parent)
        is_selected = self._is_selected(line)
        matches = wanted.matches(line.wire)
        if is_selected and (self._is_recursive or (self._tells_parents and not matches)):
            self._note_parents(line.wire)
        if matches:
            self._keep(line, is_selected)

    def _lies_beside(self, line: Line) -> bool:
        """
        Whether what is below a mailbox in the store may be elsewhere in names.

        Own folders stand beside INBOX, and C{INBOX/a} is below an own folder
        named INBOX, which is told under a name of its own.
        """
        name = line.name
        return self._wanted.is_alternate and name is not None and name.path in _BESIDE and name.owner is not None

    def _is_selected(self, line: Line) -> bool:
        if self._only_subscribed and not line.is_subscribed:
            return False
        if self._only_special and not (line.listing is not None and line.listing.special_use):
            return False
        return line.listing is not None or self._only_subscribed

    def _keep(self, line: Line, is_selected: bool) -> None:
        """Note a name that matches; one that is not selected counts once something below it is."""
        known = self._lines.get(line.wire)
        if known is not None:
            line.is_child_selected = known.is_child_selected
        line.is_parent_only = not is_selected
        if is_selected or known is not None or self._is_recursive or self._wanted.is_lsub:
            self._lines[line.wire] = line

    def _note_parents(self, wire: bytes) -> None:
        for parent in parents(wire, self._wanted.separator):
            if self._wanted.matches(parent):
                line = self._lines.setdefault(parent, Line(parent, is_parent_only=True))
                line.is_child_selected = True

    def lines(self) -> Iterator[Line]:
        """What is to be told, in order."""
        for line in self._lines.values():
            if not line.is_parent_only or line.is_child_selected:
                yield line

    def attributes(self, line: Line, has_children: bool | None = None) -> list[bytes]:
        """
        The attributes of a name, in Cyrus's order.

        @param has_children: Where that is known; None to find it among the names that were added.
        """
        found: list[bytes] = []
        found += self._existence(line)
        if line.is_subscribed and self._tells_subscribed:
            found.append(rb"\Subscribed")
        if self._tells_children:
            if has_children is None:
                has_children = line.wire in self._with_children
            found.append(rb"\HasChildren" if has_children else rb"\HasNoChildren")
        if line.listing is not None and self._tells_uses:
            found += (use.encode("ascii") for use in line.listing.special_use)
        return found

    def _existence(self, line: Line) -> list[bytes]:
        wanted = self._wanted
        if wanted.is_lsub:
            # RFC 3501 section 6.3.9: not subscribed, but something below is.
            return [rb"\Noselect", rb"\HasChildren"] if line.is_parent_only else []
        if line.listing is not None and line.listing.exists:
            return []
        # RFC 5258 section 3: \NonExistent implies \Noselect.
        return [rb"\NonExistent"] if wanted.is_extended else [rb"\Noselect"]

    def tells_child_info(self, line: Line) -> bool:
        """Whether to tell that something below is selected (RFC 5258 section 3.5)."""
        return self._is_recursive and line.is_child_selected


def parents(wire: bytes, separator: bytes) -> Iterator[bytes]:
    """Superior names, the nearest first."""
    end = wire.rfind(separator)
    while end > 0:
        yield wire[:end]
        end = wire.rfind(separator, 0, end)
