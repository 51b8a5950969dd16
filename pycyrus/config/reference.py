"""
The reference manual of options, made from the table.

C{python -m pycyrus.config.reference doc/options.rst} writes it anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pycyrus.config.options import Kind, Option, OptionTable, Status, option_table

_STATUS = {
    Status.HONOURED: "honoured",
    Status.IGNORED: "without effect",
    Status.LATER: "not yet",
    Status.REFUSED: "refused",
}

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

_INTRODUCTION = """\
Options of imapd.conf
=====================

.. This file is made by ``python -m pycyrus.config.reference doc/options.rst`` from ``pycyrus/config/options.toml``.

Every option of Cyrus IMAP 3.6 is accepted, and a few are our own.  What becomes of each:

**honoured**
    It does what it says.
**without effect**
    It is accepted; what it would change does not exist here, or works better without it.
**not yet**
    It is accepted and has no effect today; the log says so when it is set to other than its default.
**refused**
    It is unsafe: the server does not start when it is set.

A line of the file is ``name: value``; ``#`` at its beginning makes it a comment, a backslash at its end joins the next
one, and ``@include: FILE`` reads another file.  ``SERVICE_name: value`` is for one service of ``cyrus.conf`` and goes
before ``name``.  ``pycyrus check`` names every line that cannot be used.  A duration is a number with the unit ``d``,
``h``, ``m`` or ``s``, or several such as ``1d12h``; a bare number has the unit given below.
"""


def render(table: OptionTable) -> str:
    """Make the manual, as reStructuredText."""
    return "".join(_render(table))


def _render(table: OptionTable) -> Iterator[str]:
    yield _INTRODUCTION
    for area, options in groupby(table.options.values(), key=lambda option: option.area):
        yield f"\n{area}\n{'-' * len(area)}\n\n"
        for option in options:
            yield from _entry(option)


def _entry(option: Option) -> Iterator[str]:
    name = option.name.replace("*", "<name>") if option.name.endswith("-*") else option.name
    yield f"``{name}``\n"
    default = f"default ``{option.default}``" if option.default else "unset by default"
    yield f"    *{_STATUS[option.status]}*; {_takes(option)}; {default}.\n"
    # Backquotes in the table are for people; here they are literals.
    yield "    " + re.sub(r"`([^`]+)`", r"``\1``", option.meaning) + "\n"
    if option.former:
        yield "    Former names: " + ", ".join(f"``{old}``" for old in option.former) + ".\n"
    yield "\n"


def _takes(option: Option) -> str:
    match option.kind:
        case Kind.ENUM:
            return "one of " + ", ".join(f"``{choice}``" for choice in option.choices)
        case Kind.DURATION:
            return f"a duration, bare numbers in {_UNITS[option.unit]}"
        case Kind.SWITCH:
            return "``yes`` or ``no``"
        case Kind.INTEGER:
            return "a number"
        case Kind.OCTAL:
            return "an octal number"
        case Kind.WORDS:
            return "words"
        case Kind.DATABASE:
            return "the name of a database format"
        case _:
            return "a text"


def main() -> None:
    """Write the manual to the file that is named."""
    Path(sys.argv[1]).write_text(render(option_table()), "utf-8")


if __name__ == "__main__":
    main()
