"""Options of C{pycyrus murder push} and of C{ctl_mboxlist -m}, which does not import all of a Murder for them."""

from __future__ import annotations

from typing import Any


def add_push_options(parser: Any) -> None:
    """Add Cyrus's options of C{ctl_mboxlist -m}."""
    parser.add_argument("-w", "--warn-only", dest="warn_only", action="store_true", help="only say what would be done")
    parser.add_argument(
        "-a", "--authoritative", dest="is_right", action="store_true", help="take over what the master has elsewhere"
    )
    parser.add_argument("-i", "--interactive", action="store_true", help="ask before each change")
