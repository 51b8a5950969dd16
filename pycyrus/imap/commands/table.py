"""
Every command: a row each, from which dispatch and CAPABILITY come.

A new command is a module beside this one, with its parser in C{imap/wire}, and
a row here.
"""

from __future__ import annotations

from pycyrus.imap.commands.authenticate import authenticate
from pycyrus.imap.commands.capability import capability
from pycyrus.imap.commands.command import ANY, LOGGED_IN, Command, Seqs, State
from pycyrus.imap.commands.enable import enable, parse_enable
from pycyrus.imap.commands.id import identify
from pycyrus.imap.commands.idle import idle
from pycyrus.imap.commands.login import login
from pycyrus.imap.commands.logout import logout
from pycyrus.imap.commands.noop import noop
from pycyrus.imap.commands.starttls import starttls
from pycyrus.imap.wire.identification import parse_id
from pycyrus.imap.wire.login import parse_authenticate, parse_login

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
    Command(b"ENABLE", LOGGED_IN, parse_enable, enable, rfc="9051 6.3.1", capability=(b"ENABLE",)),
    Command(b"IDLE", LOGGED_IN, None, idle, rfc="9051 6.3.13", capability=(b"IDLE",)),
    # selected
    Command(b"CHECK", State.SELECTED, None, noop, rfc="3501 6.4.1"),
)
"""All rows, by state."""


def _in_state(state: State) -> dict[bytes, Command]:
    return {row.name: row for row in COMMANDS if state & row.states}


NOT_AUTHENTICATED_COMMANDS = _in_state(State.NOT_AUTHENTICATED)
AUTHENTICATED_COMMANDS = _in_state(State.AUTHENTICATED)
SELECTED_COMMANDS = _in_state(State.SELECTED)
KNOWN_COMMANDS = {row.name: row for row in COMMANDS}

__all__ = [
    "ANY",
    "AUTHENTICATED_COMMANDS",
    "COMMANDS",
    "KNOWN_COMMANDS",
    "LOGGED_IN",
    "NOT_AUTHENTICATED_COMMANDS",
    "SELECTED_COMMANDS",
    "Command",
    "Seqs",
    "State",
]
