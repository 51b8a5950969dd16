"""What a MUPDATE service must know of its configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MupdateSettings:
    """
    Options of a MUPDATE service; times in seconds.

    @ivar server_name: In the banner.
    @ivar product: Likewise, as Cyrus's.
    @ivar version: Likewise.
    @ivar service: The name in cyrus.conf.
    @ivar master: Whose copy this is, as C{mupdate://HOST}; empty for the master itself, which
        alone takes changes.
    @ivar login_timeout: From connecting to being logged in.
    @ivar timeout: Silence after which a session ends.
    @ivar stall_timeout: How long a client may take nothing of what is sent.
    @ivar close_timeout: How long a closing connection may take to drain.
    @ivar max_errors: Commands that make no sense, and failed logins, until the
        connection is closed.
    """

    server_name: str = "localhost"
    product: str = "Cyrus IMAP"
    version: str = ""
    service: str = "mupdate"
    master: str = ""
    login_timeout: float = 60.0
    timeout: float = 10_800.0
    stall_timeout: float = 300.0
    close_timeout: float = 30.0
    max_errors: int = 20
