"""What a ManageSieve service must know of its configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SieveSettings:
    """
    Options of a ManageSieve service; times in seconds.

    @ivar implementation: In the greeting.
    @ivar extensions: What scripts may use on the servers behind this one, as the greeting says; empty
        where there are none.
    @ivar service: The name in cyrus.conf.
    @ivar server_name: In session ids.
    @ivar login_timeout: From connecting to being logged in.
    @ivar timeout: Silence after which a session ends.
    @ivar close_timeout: How long a closing connection may take to drain.
    @ivar max_errors: Commands that make no sense, and failed logins, until the
        connection is closed.
    """

    implementation: str = "ManageSieve"
    extensions: str = ""
    service: str = "sieve"
    server_name: str = "localhost"
    login_timeout: float = 60.0
    timeout: float = 1920.0
    close_timeout: float = 30.0
    max_errors: int = 20
