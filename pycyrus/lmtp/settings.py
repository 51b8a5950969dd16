"""What an LMTP service is told about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LmtpSettings:
    """
    Settings of one LMTP service.

    @ivar server_name: In the greeting and in LHLO's reply.
    @ivar product: Between the server name and C{server ready}; empty to tell
        nothing.
    @ivar service: The service's name in cyrus.conf.
    @ivar preauthenticated: Who connects is trusted: a Unix socket, or
        C{lmtpd -a}.
    @ivar tls_required: No login, and no mail, without TLS.
    @ivar soft_noauth: Whether mail without login is refused for now (430) or
        for good (530).
    @ivar strict_rfc2821: Refuse addresses with 8-bit octets; otherwise each
        such octet becomes an X.
    @ivar over_quota_permanent: Answer 552 instead of 452.
    @ivar max_message_size: Octets; 0 for no limit.
    @ivar max_recipients: In one transaction; RFC 5321 section 4.5.3.1.8 wants
        100 at least.
    @ivar max_errors: Commands that make no sense, and failed logins, before
        the connection is closed.
    @ivar idle_timeout: Seconds of silence.
    @ivar login_timeout: Seconds until somebody has logged in.
    @ivar transaction_timeout: Seconds from MAIL to the end of the body.
    @ivar close_timeout: Seconds for a client to take the last reply; then the
        connection is aborted.
    """

    server_name: str
    product: str = "Cyrus LMTP"
    service: str = "lmtp"
    preauthenticated: bool = False
    tls_required: bool = False
    soft_noauth: bool = True
    strict_rfc2821: bool = True
    over_quota_permanent: bool = False
    max_message_size: int = 0
    max_recipients: int = 1000
    max_errors: int = 20
    idle_timeout: float = 360.0
    login_timeout: float = 60.0
    transaction_timeout: float = 3600.0
    close_timeout: float = 10.0
