"""The rights that an identity has in a mailbox, held by whoever has it open."""

from __future__ import annotations

from pycyrus.errors import MailboxMoving, MailboxNotFound
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import access
from pycyrus.store.directory import Directory
from pycyrus.store.rows import Entry


class HeldAccess:
    """
    What one identity may do with a mailbox, looked up again only when the list changed.

    It follows the mailbox, not the name: all openings of the identity may share it.
    """

    __slots__ = ("_directory", "_identity", "_rights", "_version", "entry")

    def __init__(self, directory: Directory, identity: Identity, entry: Entry) -> None:
        self._directory = directory
        self._identity = identity
        self._version = -1
        self._rights = access.NO_RIGHTS
        self.entry = entry

    def rights(self) -> frozenset[str]:
        """
        The rights now.

        @raise MailboxNotFound: It is gone, or there for others only.
        @raise MailboxMoving: It is on another server, or on its way there.
        """
        self._refresh()
        if not self._rights:
            has_departed = self._directory.has_departed
            if has_departed is not None and has_departed(self.entry.unique_id):
                # It was not deleted: nobody may take its messages for expunged.
                raise MailboxMoving("on another server")
            raise MailboxNotFound("deleted or hidden")
        access.check_stays(self.entry)
        return self._rights

    def allows(self, name: MailboxName, right: str) -> bool:
        """Whether it is the mailbox of that name, now, and the identity has the right."""
        self._refresh()
        return right in self._rights and self.entry.name == name and not self.entry.mailbox_type

    def name(self) -> MailboxName:
        """The name now; the last one, if it is gone."""
        self._refresh()
        return self.entry.name

    def _refresh(self) -> None:
        directory = self._directory
        version = directory.refresh()
        if version == self._version:
            return
        unique_id = self.entry.unique_id
        if directory.touched(unique_id) > self._version:
            entry = directory.by_id(unique_id)
            self._rights = access.NO_RIGHTS
            if entry is not None:
                self.entry = entry
                self._rights = access.rights(self._identity, entry.name, entry.acl)
        self._version = version
