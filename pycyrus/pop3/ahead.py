"""Several messages in one answer, for frontends that hand them on one by one as clients ask for them."""

from __future__ import annotations

from collections.abc import Callable

from pycyrus.errors import MailStoreError
from pycyrus.pop3.maildrop import Maildrop
from pycyrus.pop3.replies import Err
from pycyrus.wire.dots import stuff

MESSAGES = 12
"""In one answer."""
_OCTETS = 49_152
"""Of messages in one answer, before stuffing; a frontend has them in memory until they are asked for."""
_LONG = 0.001
"""Seconds after which it is enough: then messages come from a disk, which others would wait for."""


def gather(maildrop: Maildrop, number: int, seconds: Callable[[], float]) -> list[bytes]:
    """
    Read a message and those that follow it, as RETR (RFC 1939 section 5) sends them.

    None of them counts as retrieved.

    @param seconds: The time.
    @return: None of them if the first is too large.
    @raise Err: There is no message of that number.
    @raise MessageGone: Another session removed it.
    @raise StoreUnavailable: It cannot be read.
    """
    enough = seconds() + _LONG
    left = _OCTETS - maildrop.size(number)
    found: list[bytes] = []
    while left >= 0:
        try:
            found.append(_answer(maildrop, number))
            number += 1
            left -= maildrop.size(number)
        except (Err, MailStoreError):
            # Who asks for that one is told why.
            if not found:
                raise
            break
        if len(found) == MESSAGES or seconds() >= enough:
            break
    return found


def _answer(maildrop: Maildrop, number: int) -> bytes:
    file = maildrop.open(number)
    try:
        return b"+OK Message follows\r\n" + stuff(file.read(0, file.size))
    finally:
        file.close()
