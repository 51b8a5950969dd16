"""
Every command: a row each, from which dispatch and CAPABILITY come.

A new command is a module beside this one, with its parser in C{imap/wire}, and
a row here.
"""

from __future__ import annotations

from pycyrus.imap.commands.acl import deleteacl, getacl, listrights, myrights, setacl
from pycyrus.imap.commands.append import append
from pycyrus.imap.commands.authenticate import authenticate
from pycyrus.imap.commands.cancelupdate import cancelupdate
from pycyrus.imap.commands.capability import capability
from pycyrus.imap.commands.close import close, unselect
from pycyrus.imap.commands.command import ANY, LOGGED_IN, Command, Seqs, State
from pycyrus.imap.commands.compress import compress, parse_compress
from pycyrus.imap.commands.copy import copy, move
from pycyrus.imap.commands.create import create
from pycyrus.imap.commands.delete import delete
from pycyrus.imap.commands.enable import enable, parse_enable
from pycyrus.imap.commands.expunge import expunge, uid_expunge
from pycyrus.imap.commands.fetch import fetch
from pycyrus.imap.commands.id import identify
from pycyrus.imap.commands.idle import idle
from pycyrus.imap.commands.list import list_mailboxes, lsub, xlist
from pycyrus.imap.commands.login import login
from pycyrus.imap.commands.logout import logout
from pycyrus.imap.commands.metadata import getmetadata, setmetadata
from pycyrus.imap.commands.multisearch import esearch
from pycyrus.imap.commands.namespace import namespace
from pycyrus.imap.commands.noop import noop
from pycyrus.imap.commands.notify import notify
from pycyrus.imap.commands.quota import getquota, getquotaroot, setquota
from pycyrus.imap.commands.reconstruct import reconstruct
from pycyrus.imap.commands.rename import rename
from pycyrus.imap.commands.replace import replace
from pycyrus.imap.commands.search import search
from pycyrus.imap.commands.select import examine, select
from pycyrus.imap.commands.sort import sort, thread
from pycyrus.imap.commands.starttls import starttls
from pycyrus.imap.commands.status import status
from pycyrus.imap.commands.store import store
from pycyrus.imap.commands.subscribe import subscribe, unsubscribe
from pycyrus.imap.commands.sync import mupdatepush, sync_apply, sync_get, sync_restart, sync_restore
from pycyrus.imap.commands.transfers import dump, localcreate, localdelete, transfer_step, xfer
from pycyrus.imap.commands.unauthenticate import unauthenticate
from pycyrus.imap.commands.undump import undump
from pycyrus.imap.replies import Bad
from pycyrus.imap.wire.acl import parse_mailbox_identifier, parse_setacl
from pycyrus.imap.wire.append import parse_append, parse_local_append, parse_replace, parse_uid_replace
from pycyrus.imap.wire.copy import parse_copy, parse_uid_copy, parse_uid_expunge
from pycyrus.imap.wire.fetch import parse_fetch, parse_uid_fetch
from pycyrus.imap.wire.identification import parse_id
from pycyrus.imap.wire.listing import parse_list, parse_lsub, parse_plain_list
from pycyrus.imap.wire.login import parse_authenticate, parse_login
from pycyrus.imap.wire.mailboxes import parse_create, parse_named, parse_reconstruct, parse_rename, parse_status
from pycyrus.imap.wire.metadata import parse_getmetadata, parse_setmetadata
from pycyrus.imap.wire.multisearch import parse_multisearch
from pycyrus.imap.wire.notify import parse_notify
from pycyrus.imap.wire.quota import parse_setquota
from pycyrus.imap.wire.search import parse_cancelupdate, parse_search, parse_uid_search
from pycyrus.imap.wire.select import parse_select
from pycyrus.imap.wire.sort import parse_sort, parse_thread, parse_uid_sort, parse_uid_thread
from pycyrus.imap.wire.store import parse_store, parse_uid_store
from pycyrus.imap.wire.transfers import parse_dump, parse_transfer_step, parse_xfer
from pycyrus.model.quota import Resource

COMMANDS: tuple[Command, ...] = (
    # any state
    Command(b"CAPABILITY", ANY, None, capability, rfc="9051 6.1.1"),
    Command(b"NOOP", ANY, None, noop, rfc="9051 6.1.2"),
    Command(b"LOGOUT", ANY, None, logout, Seqs.NONE, "9051 6.1.3"),
    Command(b"ID", ANY, parse_id, identify, rfc="2971 3.1", capability=(b"ID",)),
    # not authenticated
    Command(b"STARTTLS", State.NOT_AUTHENTICATED, None, starttls, Seqs.NONE, "9051 6.2.1"),
    Command(b"AUTHENTICATE", State.NOT_AUTHENTICATED, parse_authenticate, authenticate, Seqs.NONE, "9051 6.2.2"),
    Command(b"LOGIN", State.NOT_AUTHENTICATED, parse_login, login, Seqs.NONE, "9051 6.2.3"),
    # authenticated
    Command(
        b"ENABLE", LOGGED_IN, parse_enable, enable, rfc="9051 6.3.1", capability=(b"ENABLE", b"UTF8=ACCEPT", b"UIDONLY")
    ),
    Command(b"COMPRESS", LOGGED_IN, parse_compress, compress, Seqs.NONE, "4978 3", (b"COMPRESS=DEFLATE",)),
    Command(b"UNAUTHENTICATE", LOGGED_IN, None, unauthenticate, Seqs.NONE, "8437 3", (b"UNAUTHENTICATE",)),
    Command(b"IDLE", LOGGED_IN, None, idle, rfc="9051 6.3.13", capability=(b"IDLE",)),
    Command(b"SELECT", LOGGED_IN, parse_select, select, Seqs.NONE, "9051 6.3.2", (b"QRESYNC",)),
    Command(b"EXAMINE", LOGGED_IN, parse_select, examine, Seqs.NONE, "9051 6.3.3"),
    Command(
        b"CREATE", LOGGED_IN, parse_create, create, rfc="9051 6.3.4", capability=(b"CREATE-SPECIAL-USE", b"OBJECTID")
    ),
    Command(b"DELETE", LOGGED_IN, parse_named, delete, rfc="9051 6.3.5"),
    Command(b"RENAME", LOGGED_IN, parse_rename, rename, rfc="9051 6.3.6"),
    Command(b"SUBSCRIBE", LOGGED_IN, parse_named, subscribe, rfc="9051 6.3.7"),
    Command(b"UNSUBSCRIBE", LOGGED_IN, parse_named, unsubscribe, rfc="9051 6.3.8"),
    Command(
        b"LIST",
        LOGGED_IN,
        parse_list,
        list_mailboxes,
        rfc="9051 6.3.9",
        capability=(b"CHILDREN", b"LIST-EXTENDED", b"LIST-METADATA", b"LIST-MYRIGHTS", b"LIST-STATUS", b"SPECIAL-USE"),
    ),
    # Where all mailboxes are here, a client that would follow referrals is told of none (RFC 2193 section 5).
    Command(b"RLIST", LOGGED_IN, parse_plain_list, list_mailboxes, rfc="2193 5.1", capability=(b"MAILBOX-REFERRALS",)),
    Command(b"RLSUB", LOGGED_IN, parse_lsub, lsub, rfc="2193 5.2"),
    Command(b"XLIST", LOGGED_IN, parse_plain_list, xlist, rfc="6154 2", capability=(b"XLIST",)),
    Command(b"LSUB", LOGGED_IN, parse_lsub, lsub, rfc="3501 6.3.9"),
    Command(b"SETACL", LOGGED_IN, parse_setacl, setacl, rfc="4314 3.1", capability=(b"ACL", b"RIGHTS=kxten")),
    Command(b"DELETEACL", LOGGED_IN, parse_mailbox_identifier, deleteacl, rfc="4314 3.2"),
    Command(b"GETACL", LOGGED_IN, parse_named, getacl, rfc="4314 3.3"),
    Command(b"LISTRIGHTS", LOGGED_IN, parse_mailbox_identifier, listrights, rfc="4314 3.4"),
    Command(b"MYRIGHTS", LOGGED_IN, parse_named, myrights, rfc="4314 3.5"),
    Command(
        b"GETQUOTA",
        LOGGED_IN,
        parse_named,
        getquota,
        rfc="9208 4.1.1",
        # Cyrus's names of before RFC 9208 as well.
        capability=(
            b"QUOTA",
            *(b"QUOTA=RES-" + resource.value.encode("ascii") for resource in Resource),
            *(b"X-QUOTA=" + name for name in (b"STORAGE", b"MESSAGE", b"X-ANNOTATION-STORAGE", b"X-NUM-FOLDERS")),
        ),
    ),
    Command(b"GETQUOTAROOT", LOGGED_IN, parse_named, getquotaroot, rfc="9208 4.1.2"),
    Command(b"SETQUOTA", LOGGED_IN, parse_setquota, setquota, rfc="9208 4.1.3", capability=(b"QUOTASET",)),
    Command(b"RECONSTRUCT", LOGGED_IN, parse_reconstruct, reconstruct),
    Command(b"GETMETADATA", LOGGED_IN, parse_getmetadata, getmetadata, rfc="5464 4.2", capability=(b"METADATA",)),
    Command(b"SETMETADATA", LOGGED_IN, parse_setmetadata, setmetadata, rfc="5464 4.3"),
    Command(b"NAMESPACE", LOGGED_IN, None, namespace, rfc="9051 6.3.10", capability=(b"NAMESPACE",)),
    Command(b"STATUS", LOGGED_IN, parse_status, status, rfc="9051 6.3.11", capability=(b"STATUS=SIZE",)),
    Command(
        b"APPEND",
        LOGGED_IN,
        parse_append,
        append,
        rfc="9051 6.3.12",
        capability=(b"MULTIAPPEND", b"CATENATE"),
        may_create=True,
    ),
    # What frontends of a Cyrus Murder say instead; nobody is told of it.
    Command(b"LOCALAPPEND", LOGGED_IN, parse_local_append, append, rfc="9051 6.3.12", may_create=True),
    Command(b"LOCALCREATE", LOGGED_IN, parse_create, localcreate),
    Command(b"LOCALDELETE", LOGGED_IN, parse_named, localdelete),
    Command(b"XFER", LOGGED_IN, parse_xfer, xfer),
    Command(b"MUPDATEPUSH", LOGGED_IN, parse_named, mupdatepush),
    Command(b"SYNCAPPLY", LOGGED_IN, None, sync_apply),
    Command(b"SYNCGET", LOGGED_IN, None, sync_get),
    Command(b"SYNCRESTART", LOGGED_IN, None, sync_restart),
    Command(b"SYNCRESTORE", LOGGED_IN, None, sync_restore),
    Command(b"DUMP", LOGGED_IN, parse_dump, dump),
    Command(b"UNDUMP", LOGGED_IN, None, undump),
    Command(b"XTRANSFER", LOGGED_IN, parse_transfer_step, transfer_step),
    Command(b"ESEARCH", LOGGED_IN, parse_multisearch, esearch, rfc="7377 2.1", capability=(b"MULTISEARCH",)),
    Command(b"NOTIFY", LOGGED_IN, parse_notify, notify, rfc="5465 3.1", capability=(b"NOTIFY",)),
    # selected
    Command(b"CHECK", State.SELECTED, None, noop, rfc="3501 6.4.1"),
    Command(b"CANCELUPDATE", State.SELECTED, parse_cancelupdate, cancelupdate, rfc="5267 4.3.1"),
    Command(b"CLOSE", State.SELECTED, None, close, Seqs.NONE, "9051 6.4.1"),
    Command(b"UNSELECT", State.SELECTED, None, unselect, Seqs.NONE, "3691 2", (b"UNSELECT",)),
    Command(b"EXPUNGE", State.SELECTED, None, expunge, rfc="9051 6.4.3"),
    Command(b"UID EXPUNGE", State.SELECTED, parse_uid_expunge, uid_expunge, rfc="4315 2.1", capability=(b"UIDPLUS",)),
    Command(
        b"SEARCH",
        State.SELECTED,
        parse_search,
        search,
        Seqs.NO_EXPUNGE,
        "9051 6.4.4",
        (b"ESEARCH", b"SEARCHRES", b"SEARCH=FUZZY", b"WITHIN", b"PARTIAL", b"INPROGRESS", b"CONTEXT=SEARCH"),
    ),
    Command(b"UID SEARCH", State.SELECTED, parse_uid_search, search, rfc="9051 6.4.9"),
    Command(
        b"SORT",
        State.SELECTED,
        parse_sort,
        sort,
        Seqs.NO_EXPUNGE,
        "5256 3",
        (b"SORT", b"SORT=DISPLAY", b"SORT=MODSEQ", b"SORT=UID", b"ESORT", b"CONTEXT=SORT"),
    ),
    Command(b"UID SORT", State.SELECTED, parse_uid_sort, sort, rfc="5256 3"),
    Command(
        b"THREAD",
        State.SELECTED,
        parse_thread,
        thread,
        Seqs.NO_EXPUNGE,
        "5256 3",
        (b"THREAD=ORDEREDSUBJECT", b"THREAD=REFERENCES", b"THREAD=REFS", b"I18NLEVEL=1"),
    ),
    Command(b"UID THREAD", State.SELECTED, parse_uid_thread, thread, rfc="5256 3"),
    Command(
        b"FETCH",
        State.SELECTED,
        parse_fetch,
        fetch,
        Seqs.NO_EXPUNGE,
        "9051 6.4.5",
        (b"ANNOTATE-EXPERIMENT-1", b"BINARY", b"CONDSTORE", b"PREVIEW", b"SAVEDATE"),
    ),
    Command(b"UID FETCH", State.SELECTED, parse_uid_fetch, fetch, rfc="9051 6.4.9"),
    Command(b"STORE", State.SELECTED, parse_store, store, Seqs.NO_EXPUNGE, "9051 6.4.6"),
    Command(b"UID STORE", State.SELECTED, parse_uid_store, store, rfc="9051 6.4.9"),
    Command(
        b"REPLACE", State.SELECTED, parse_replace, replace, rfc="8508 3.1", capability=(b"REPLACE",), may_create=True
    ),
    Command(b"UID REPLACE", State.SELECTED, parse_uid_replace, replace, rfc="8508 3.1", may_create=True),
    Command(b"COPY", State.SELECTED, parse_copy, copy, rfc="9051 6.4.7", may_create=True),
    Command(b"UID COPY", State.SELECTED, parse_uid_copy, copy, rfc="9051 6.4.9", may_create=True),
    Command(b"MOVE", State.SELECTED, parse_copy, move, rfc="6851 3.1", capability=(b"MOVE",), may_create=True),
    Command(b"UID MOVE", State.SELECTED, parse_uid_copy, move, rfc="6851 3.2", may_create=True),
)
"""All rows, by state."""


def _in_state(state: State) -> dict[bytes, Command]:
    return {row.name: row for row in COMMANDS if state & row.states}


NOT_AUTHENTICATED_COMMANDS = _in_state(State.NOT_AUTHENTICATED)
AUTHENTICATED_COMMANDS = _in_state(State.AUTHENTICATED)
SELECTED_COMMANDS = _in_state(State.SELECTED)
KNOWN_COMMANDS = {row.name: row for row in COMMANDS}
NUMBERED = {name for name in KNOWN_COMMANDS if b"UID " + name in KNOWN_COMMANDS} - {b"EXPUNGE"}
"""Commands that take or tell message numbers (RFC 9586 section 3.1)."""


def unavailable(name: bytes, *, is_logged_in: bool) -> Bad:
    """Why a command is not allowed now."""
    row = KNOWN_COMMANDS.get(name)
    if row is None:
        return Bad(b"Unrecognized command")
    if not is_logged_in:
        return Bad(b"Please login first")
    if row.states is State.NOT_AUTHENTICATED:
        return Bad(b"Already logged in")
    return Bad(b"Please select a mailbox first")


__all__ = [
    "ANY",
    "AUTHENTICATED_COMMANDS",
    "COMMANDS",
    "KNOWN_COMMANDS",
    "LOGGED_IN",
    "NOT_AUTHENTICATED_COMMANDS",
    "NUMBERED",
    "SELECTED_COMMANDS",
    "Command",
    "Seqs",
    "State",
    "unavailable",
]
