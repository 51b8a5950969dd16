"""From envelope addresses to mailbox names; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import InvalidMailboxName, MailboxNotFound
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.internal_names import check_component, is_domain, user_inbox
from pycyrus.model.names import MailboxName, VirtualDomains

ANONYMOUS = "anonymous"
"""Whose rights to post are asked where no sender is known: what C{anyone} has."""

_USERS = "user"
"""Where users' mailboxes are in the namespace of administrators."""
_BLANKS = str.maketrans("-_", "  ")


@dataclass(frozen=True, slots=True)
class Target:
    """
    Where a recipient's copy is to go.

    @ivar inbox: Of the user; None for a shared mailbox.
    @ivar folder: What the detail names, if anything can have that name.
    """

    inbox: MailboxName | None
    folder: MailboxName | None

    @property
    def domain(self) -> str:
        """The domain whose mail this is."""
        name = self.inbox or self.folder
        return name.domain if name is not None else ""


def resolve(recipient: Recipient, settings: DeliverySettings) -> Target:
    """
    Find where an address leads: C{user+folder@domain}.

    @raise InvalidMailboxName: Nobody can have this address.
    """
    user, _, detail = recipient.local_part.partition("+")
    if settings.downcase_recipients:
        user = user.lower()
    domain = canonical_domain(recipient.domain, settings)
    # As in Cyrus a separator at the end names nothing more.
    detail = detail.rstrip(settings.namespace.separator)
    path = tuple(detail.split(settings.namespace.separator)) if detail else ()
    if settings.namespace.separator == ".":
        # Dots within a component are written as clients write them.
        path = tuple(component.replace("^", ".") for component in path)
    if user == settings.post_user:
        if not path:
            raise InvalidMailboxName("no shared mailbox given")
        for component in path:
            check_component(component)
        if path[0] == _USERS and len(path) > 1:
            # As administrators write it: a user's folder, for which its ACL decides as for a shared one.
            return Target(None, MailboxName(domain, user_inbox(path[1], domain).owner, path[2:]))
        return Target(None, MailboxName(domain, None, path))
    inbox = user_inbox(user, domain)
    return Target(inbox, _folder(inbox, path))


def asked_mailbox(recipient: Recipient, settings: DeliverySettings) -> tuple[MailboxName, Identity]:
    """
    The mailbox that an address names: unlike delivery, no INBOX for a folder that cannot be.

    @return: Its name, and as whom to look for it.
    @raise MailboxNotFound: It names none.
    """
    try:
        target = resolve(recipient, settings)
    except InvalidMailboxName as error:
        raise MailboxNotFound from error
    has_detail = bool(recipient.local_part.partition("+")[2])
    name = target.folder if has_detail else target.inbox
    if name is None:
        raise MailboxNotFound
    return name, POSTMAN if target.inbox is not None else Identity(ANONYMOUS, name.domain)


def _folder(inbox: MailboxName, path: tuple[str, ...]) -> MailboxName | None:
    """The folder of a detail; a detail that can name none is no reason to lose mail."""
    try:
        for component in path:
            check_component(component)
    except InvalidMailboxName:
        return None
    return MailboxName(inbox.domain, inbox.owner, path) if path else None


def canonical_domain(domain: str, settings: DeliverySettings) -> str:
    """
    The domain of a mailbox, from that of an address.

    @raise InvalidMailboxName: None can have it.
    """
    namespace = settings.namespace
    if namespace.virtdomains is VirtualDomains.OFF:
        return ""
    if not domain.isascii():
        # In letters of its own (RFC 6531): mailboxes have it as name servers do.
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise InvalidMailboxName("domain") from error
    domain = domain.lower().removesuffix(".")
    if domain == namespace.defaultdomain.lower():
        return ""
    if domain and not is_domain(domain):
        raise InvalidMailboxName("domain")
    return domain


def catchall_target(settings: DeliverySettings) -> Target | None:
    """
    Where unknown recipients' mail goes, if anywhere.

    @raise InvalidMailboxName: The option names no user.
    """
    if not settings.catchall:
        return None
    user, _, domain = settings.catchall.partition("@")
    return Target(user_inbox(user, canonical_domain(domain, settings)), None)


def nearest(wanted: MailboxName, existing: Iterable[MailboxName]) -> MailboxName | None:
    """
    The mailbox that was most likely meant (C{lmtp_fuzzy_mailbox_match}).

    Case does not count, and dash, underscore and space are the same.  The
    deepest that is the folder or lies above it wins; among those, the one spelt
    most alike.

    @param existing: Of the same owner, or shared ones.
    """
    path = wanted.path
    alike = [_spelling(component) for component in path]

    def closeness(name: MailboxName) -> tuple[int, int]:
        depth = len(name.path)
        if depth > len(path) or [_spelling(component) for component in name.path] != alike[:depth]:
            return 0, 0
        return depth, sum(a == b for a, b in zip(name.path, path, strict=False))

    best = max(existing, key=closeness, default=None)
    return best if best is not None and closeness(best) > (0, 0) else None


def _spelling(component: str) -> str:
    return component.casefold().translate(_BLANKS)


def poster(envelope: Envelope, domain: str, settings: DeliverySettings) -> Identity:
    """
    Whose right C{p} on a folder is asked.

    That is the user of MAIL's AUTH parameter (RFC 4954 section 5), which only a
    trusted client comes as far as to give; else nobody in particular.  Nobody
    has rights in a foreign domain.

    @param domain: Of the recipient.
    """
    if envelope.auth:
        user, given = envelope.auth, ""
        if "@" in user:
            user, _, given = user.rpartition("@")
        try:
            # A user id, not a recipient: the case of user ids counts for it.
            user = user.lower() if settings.namespace.username_tolower else user
            return Identity(user, canonical_domain(given, settings))
        except InvalidMailboxName:
            pass
    return Identity(ANONYMOUS, domain)
