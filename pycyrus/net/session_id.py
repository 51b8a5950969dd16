"""Ids by which a session is found in the logs of all servers it went through."""

from __future__ import annotations

import itertools
import os
import secrets
import time

_count = itertools.count(1)


def make(prefix: str) -> str:
    """
    Make the id of a new session: C{prefix-unixtime-pid-count-random}.

    @param prefix: The C{syslog_prefix}, or the server's name.
    """
    return f"{prefix}-{int(time.time())}-{os.getpid()}-{next(_count)}-{secrets.randbits(64)}"
