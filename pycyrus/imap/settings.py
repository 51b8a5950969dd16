"""What an IMAP service must know of its configuration; shared by all its sessions."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pycyrus import __version__
from pycyrus.imap.command_log import CommandLog
from pycyrus.imap.wire.frames import FrameLimits
from pycyrus.model.acl_text import OLD_RIGHTS, OLD_RIGHTS_OF_DELETE, OldRights
from pycyrus.model.scopes import Namespace

CYRUS_VERSION = "3.6.7"
"""The release whose behaviour, also towards its own peers, is the measure."""


class ServerInfo(enum.Enum):
    """How much the server tells of itself (C{serverinfo})."""

    ON = "on"
    MINIMAL = "min"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class QuotaWarnings:
    """
    When SELECT warns that little room is left.

    @ivar percent: Of use (C{quotawarn}).
    @ivar kibibytes: Left (C{quotawarnkb}).
    @ivar messages: Left (C{quotawarnmsg}).
    """

    percent: int = 90
    kibibytes: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class ListingRules:
    """
    What LIST, LSUB and NAMESPACE leave out; administrators see everything.

    @ivar hidden: C{disable_user_namespace}, C{disable_shared_namespace}.
    @ivar is_star_personal: C{foolstupidclients}: C{LIST "" *} tells one's own mailboxes only.
    @ivar ignores_reference: C{ignorereference}.
    @ivar always_tells_uses: C{specialusealways}: special uses unasked.
    """

    hidden: frozenset[Namespace] = frozenset()
    is_star_personal: bool = False
    ignores_reference: bool = False
    always_tells_uses: bool = True


@dataclass(frozen=True, slots=True)
class ImapSettings:
    """
    Options of an IMAP service; times in seconds, sizes in octets.

    @ivar server_name: C{servername}.
    @ivar service: The name in cyrus.conf, for logs and authentication.
    @ivar server_info: C{serverinfo}.
    @ivar is_id_answered: C{imapidresponse}.
    @ivar login_timeout: From connecting to being logged in.
    @ivar timeout: C{timeout}: silence after which a session ends; at least 30
        minutes (RFC 9051 section 5.4).
    @ivar idle_timeout: C{imapidletimeout}: the same during IDLE; 0 for
        C{timeout}.
    @ivar is_idle_offered: False for C{imapidlepoll: 0}.
    @ivar close_timeout: How long a closing connection may take to drain.
    @ivar before_login: What commands may cost before login.
    @ivar limits: The same afterwards (C{maxliteral}, C{maxargssize}, ...).
    @ivar max_sasl_line: Longest line that is no command, such as a response in
        a SASL exchange.
    @ivar max_message_size: C{maxmessagesize}; 0 for none.
    @ivar is_literal_minus: C{literalminus}: LITERAL- instead of LITERAL+
        (RFC 7888).
    @ivar max_bad_commands: Tagged BAD and failed logins before login that end
        the connection.
    @ivar max_commands_before_login: All commands before login.
    @ivar read_ahead: Octets read while a command runs, until the transport is
        paused.
    @ivar suppressed_capabilities: C{suppress_capabilities}.
    @ivar is_setacl_allowed: C{allowsetacl}.
    @ivar delete_right: C{deleteright}: the old letter that stands for x too.
    @ivar mupdate_server: C{mupdate_server}: told, as Cyrus's frontends look whether a backend has one; empty for none.
    @ivar is_read_only: C{readonly}: nothing may be changed.
    @ivar message_limit: C{imap_message_limit}: messages that one command takes on;
        0 for no limit.
    @ivar quota_warnings: When to warn of the quota.
    @ivar listing: What listings leave out.
    @ivar plaintext_pause: C{plaintextloginpause}: how long the answer to such a login is held back.
    @ivar leaves_vanished: C{disconnect_on_vanished_mailbox}: a session ends whose mailbox is deleted; else the
        mailbox becomes empty to it.
    @ivar expunges_when_left: C{autoexpunge}: a mailbox is left without what is deleted, however it is left.
    @ivar command_log: What is logged of commands; None for nothing.
    @ivar plaintext_alert: C{plaintextloginalert}: what those are told who log in by a password without TLS.
    """

    server_name: str = "localhost"
    service: str = "imap"
    server_info: ServerInfo = ServerInfo.ON
    is_id_answered: bool = True
    login_timeout: float = 60.0
    timeout: float = 1920.0
    idle_timeout: float = 0.0
    is_idle_offered: bool = True
    close_timeout: float = 30.0
    before_login: FrameLimits = FrameLimits(line=8192, literal=4096, literals=4, command=16_384, discard=65_536)  # noqa: RUF009 - frozen
    limits: FrameLimits = FrameLimits()  # noqa: RUF009 - frozen
    max_sasl_line: int = 16_384
    max_message_size: int = 0
    is_literal_minus: bool = False
    max_bad_commands: int = 20
    max_commands_before_login: int = 200
    read_ahead: int = 65_536
    suppressed_capabilities: frozenset[str] = frozenset()
    mupdate_server: str = ""
    is_read_only: bool = False
    is_setacl_allowed: bool = True
    delete_right: str = "c"
    message_limit: int = 0
    quota_warnings: QuotaWarnings = QuotaWarnings()
    listing: ListingRules = ListingRules()
    plaintext_alert: str = ""
    plaintext_pause: float = 0.0
    leaves_vanished: bool = False
    expunges_when_left: bool = False
    command_log: CommandLog | None = None

    @property
    def old_rights(self) -> OldRights:
        """What the letters of RFC 2086 stand for."""
        return OLD_RIGHTS_OF_DELETE.get(self.delete_right, OLD_RIGHTS)

    @property
    def silence(self) -> float:
        """Seconds of silence after which a session ends."""
        return max(self.timeout, 1800.0)

    @property
    def idle_silence(self) -> float:
        """Seconds of silence after which a session in IDLE ends."""
        return max(self.idle_timeout, 1800.0) if self.idle_timeout else self.silence

    @property
    def greeting(self) -> str:
        """The text of the greeting, after its capabilities."""
        if self.server_info is ServerInfo.OFF:
            return "server ready"
        if self.server_info is ServerInfo.MINIMAL:
            return f"{self.server_name} server ready"
        return f"{self.server_name} Cyrus IMAP {self.version} server ready"

    @property
    def version(self) -> str:
        """Version for ID: the release we behave like, then our own."""
        return f"{CYRUS_VERSION}-pycyrus-{__version__}"
