"""
Every command: a row each, from which dispatch and CAPABILITY come.

A new command is a module beside this one, with its parser in C{imap/wire}, and
a row here.
"""

from __future__ import annotations

from pycyrus.imap.commands.capability import capability
from pycyrus.imap.commands.command import ANY, LOGGED_IN, Command, Seqs, State
from pycyrus.imap.commands.noop import noop

COMMANDS: tuple[Command, ...] = (
    # any state
    Command(b"CAPABILITY", ANY, None, capability, rfc="9051 6.1.1"),
    Command(b"NOOP", ANY, None, noop, rfc="9051 6.1.2"),
    # not authenticated
    # authenticated
    # selected
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
