"""
What CAPABILITY tells: the rows of the command table, in Cyrus's order (RFC 9051 section 6.1.1).

Only what is complete is told: a token comes from a row of the table, or is one of
the few below that no command stands for.
"""

from __future__ import annotations

from functools import lru_cache

from pycyrus.imap.commands.table import COMMANDS
from pycyrus.imap.settings import ImapSettings

ORDER: tuple[bytes, ...] = tuple(
    b"""
    ACL ANNOTATE-EXPERIMENT-1 BINARY CATENATE CHILDREN CONDSTORE CREATE-SPECIAL-USE ESEARCH ESORT LIST-EXTENDED
    LIST-MYRIGHTS LIST-STATUS MAILBOX-REFERRALS METADATA MOVE MULTIAPPEND NAMESPACE OBJECTID PREVIEW QRESYNC QUOTA
    RIGHTS=kxten SAVEDATE SEARCH=FUZZY SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE THREAD=ORDEREDSUBJECT
    THREAD=REFERENCES UIDPLUS UNSELECT WITHIN ANNOTATEMORE LIST-METADATA NO_ATOMIC_RENAME SCAN SORT=MODSEQ SORT=UID
    THREAD=REFS X-CREATEDMODSEQ X-REPLICATION X-SIEVE-MAILBOX XLIST XMOVE
    UNAUTHENTICATE COMPRESS=DEFLATE
    """.split()
)
"""In which order Cyrus tells what needs a login; other tokens follow in the order of the table."""
ALWAYS = (b"ID", b"ENABLE")
"""Extensions that are told before login as well."""
ASKED_EARLY = (b"CREATE-SPECIAL-USE", b"LIST-EXTENDED", b"METADATA", b"SPECIAL-USE")
"""What cyradm looks for before it logs in, and never again."""
COMPRESS = b"COMPRESS=DEFLATE"
REPLICATION = (b"X-REPLICATION", b"X-SIEVE-MAILBOX")
"""Without the latter a server of Cyrus's sends Sieve scripts as something else than messages."""
_BASE = (b"IMAP4rev1", b"IMAP4rev2")
_PLACED = frozenset((*ALWAYS, b"IDLE"))


def _extensions() -> list[bytes]:
    found = {token for row in COMMANDS for token in row.capability}
    told = [token for token in ORDER if token in found]
    others = dict.fromkeys(token for row in COMMANDS for token in row.capability)
    return told + [token for token in others if token not in told and token not in _PLACED]


@lru_cache(maxsize=256)
def capabilities(
    settings: ImapSettings,
    *,
    is_logged_in: bool,
    can_start_tls: bool,
    is_login_disabled: bool,
    is_compressed: bool,
    mechanisms: tuple[str, ...],
    is_frontend: bool = False,
    takes_syncs: bool = False,
) -> bytes:
    """
    List the capabilities of a session, parted by spaces.

    @param can_start_tls: STARTTLS is configured and TLS not active.
    @param is_login_disabled: LOGIN would be refused.
    @param is_compressed: COMPRESS is active, and so not offered.
    @param mechanisms: SASL mechanisms on this channel.
    @param is_frontend: Mailboxes may be on other servers.
    @param takes_syncs: Servers of Cyrus's may bring mailboxes.
    """
    known = {token for row in COMMANDS for token in row.capability}
    tokens = [*_BASE, b"LITERAL-" if settings.is_literal_minus else b"LITERAL+"]
    tokens += [token for token in ALWAYS if token in known]
    directory = b"MUPDATE=mupdate://%b/" % settings.mupdate_server.encode("ascii", "replace")
    if is_logged_in:
        tokens += [*_extensions(), directory] if settings.mupdate_server else _extensions()
    else:
        tokens += [directory] if settings.mupdate_server else []
        tokens += [token for token in ASKED_EARLY if token in known]
        if can_start_tls:
            tokens.append(b"STARTTLS")
    if is_login_disabled:
        tokens.append(b"LOGINDISABLED")
    if not is_logged_in and mechanisms:
        tokens += [b"AUTH=" + mechanism.encode("ascii") for mechanism in mechanisms]
        tokens.append(b"SASL-IR")
    if is_logged_in:
        if settings.is_idle_offered and b"IDLE" in known:
            tokens.append(b"IDLE")
        # Without a number: STATUS tells the limit of a mailbox, if it has one (RFC 7889 section 3.1).
        limit = settings.max_message_size
        tokens.append(b"APPENDLIMIT=%d" % limit if limit else b"APPENDLIMIT")
        if settings.message_limit and not is_frontend:
            tokens.append(b"MESSAGELIMIT=%d" % settings.message_limit)
    if takes_syncs:
        tokens += REPLICATION
    if is_compressed:
        tokens.remove(COMPRESS)
    hidden = {name.upper().encode("ascii", "replace") for name in settings.suppressed_capabilities}
    return b" ".join(token for token in tokens if token.upper() not in hidden)
