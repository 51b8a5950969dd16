"""What a POP3 service must know of its configuration."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class UidlFormat(enum.Enum):
    """How UIDL names a message (C{uidl_format}): formats of the UIDVALIDITY before, the UID, the UIDVALIDITY after."""

    UIDONLY = (b"", b"%d", b"")
    CYRUS = (b"%d.", b"%d", b"")
    DOVECOT = (b"", b"%08x", b"%08x")
    COURIER = (b"%d-", b"%d", b"")

    def of_mailbox(self, uidvalidity: int) -> bytes:
        """The format for the UID alone."""
        before, uid, after = self.value
        return b"".join((before % uidvalidity if before else b"", uid, after % uidvalidity if after else b""))


@dataclass(frozen=True, slots=True)
class Pop3Settings:
    r"""
    Options of a POP3 service; times in seconds.

    @ivar server_name: In the greeting.
    @ivar product: Behind the name in the greeting and in IMPLEMENTATION; empty to
        tell nothing.
    @ivar service: The name in cyrus.conf.
    @ivar login_timeout: From connecting to being logged in.
    @ivar timeout: C{poptimeout}: silence after which a session ends, and deletes
        nothing; RFC 1939 section 3 wants ten minutes at least.
    @ivar close_timeout: How long a closing connection may take to drain.
    @ivar max_errors: Commands that make no sense, and failed logins, until the
        connection is closed.
    @ivar expire: C{popexpiretime}: days that mail is said to be kept; None for ever.
    @ivar login_delay: C{popminpoll}: seconds between two logins; 0 for none.
    @ivar login_burst: C{poppollpadding}: logins in a row that are forgiven.
    @ivar uidl_format: C{uidl_format}.
    @ivar has_subfolders: C{popsubfolders}: C{user+folder} opens a folder.
    @ivar uses_acl: C{popuseacl}: the right r is needed to read, t and e to delete, s to note
        what was read; otherwise owners may all of that.
    @ivar uses_imap_flags: C{popuseimapflags}: messages with C{\Deleted} are hidden,
        and those retrieved become C{\Seen}.
    @ivar folder_separator: Between a folder and its subfolder in C{user+folder}.
    @ivar serves_frontends: Their connections serve one user after another (C{proxyservers}).
    @ivar plaintext_pause: C{plaintextloginpause}: how long the answer to PASS without TLS is held back.
    """

    server_name: str = "localhost"
    product: str = "Cyrus POP3"
    service: str = "pop3"
    login_timeout: float = 60.0
    timeout: float = 600.0
    close_timeout: float = 30.0
    max_errors: int = 20
    expire: int | None = None
    login_delay: float = 0.0
    login_burst: int = 1
    uidl_format: UidlFormat = UidlFormat.CYRUS
    has_subfolders: bool = False
    uses_acl: bool = False
    uses_imap_flags: bool = False
    folder_separator: str = "/"
    plaintext_pause: float = 0.0
    serves_frontends: bool = False

    @property
    def silence(self) -> float:
        """Seconds of silence after which a session ends."""
        return max(self.timeout, 600.0)
