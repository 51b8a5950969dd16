"""ID."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.imap.settings import ServerInfo
from pycyrus.imap.wire.identification import Fields, encode_id
from pycyrus.imap.wire.log_text import log_text

if TYPE_CHECKING:
    from pycyrus.imap.session import Session

log = Logger()

NAME = b"Cyrus IMAPD"
"""Clients that know a server's habits by its name know these."""


async def identify(session: Session, fields: Fields) -> None:
    """
    Log who the client says it is, and say who we are (RFC 2971 section 3.1).

    Nothing depends on what was said.  It may be said again, as after STARTTLS; who has
    not logged in is believed, and written down, but once.
    """
    is_repeated = session.identity is None and session.client_id is not None
    if not is_repeated:
        session.client_id = fields
    if fields and not is_repeated:
        log.info(
            "client id of {session}: {fields}",
            session=session.session_id,
            fields=" ".join(
                f"{log_text(name)}={'NIL' if value is None else log_text(value)}" for name, value in fields
            ),
        )
    session.write(_answer(session))


def _answer(session: Session) -> bytes:
    settings = session.settings
    if not settings.is_id_answered:
        return b"* ID NIL\r\n"
    if session.identity is None and settings.server_info is not ServerInfo.ON:
        return encode_id([(b"name", NAME)])
    return encode_id(
        [
            (b"name", NAME),
            (b"version", settings.version.encode("ascii")),
            (b"vendor", b"pycyrus"),
            (b"os", platform.system().encode("ascii", "replace")),
        ]
    )
