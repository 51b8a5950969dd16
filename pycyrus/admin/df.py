"""C{cyr_df}: tells how much room the partitions have."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pycyrus.admin.command import reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import load

_COLUMNS = "{:<20} {:>12} {:>12} {:>12} {:>4} {}"


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("cyr_df", help="tell how much room the partitions have")
    parser.add_argument("-m", "--metadata", dest="meta", action="store_true", help="metapartitions instead")
    parser.add_argument("--json", action="store_true", help="print JSON, in KiB")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Print it.

    @return: 0 if all of them are there.
    """
    settings = store_settings(load(source_of(arguments)).settings)
    told: dict[str, dict[str, int | str]] = {}
    code = 0
    for name, path in sorted((settings.metapartitions if arguments.meta else settings.partitions).items()):
        try:
            told[name] = _room(path)
        except OSError as error:
            print(f"{name}: {path}: {error.strerror}", file=sys.stderr)
            code = 1
    if arguments.json:
        print(json.dumps(told, indent=2))
        return code
    print(_COLUMNS.format("Partition", "1k-blocks", "Used", "Available", "Use%", "Location"))
    for name, room in told.items():
        print(_COLUMNS.format(name, *room.values()))
    return code


def _room(path: Path) -> dict[str, int | str]:
    found = os.statvfs(path)
    total, free, left = (count * found.f_frsize // 1024 for count in (found.f_blocks, found.f_bfree, found.f_bavail))
    used = total - free
    # As df rounds: a disk with anything on it is not 0 % full.
    percent = -(-used * 100 // (used + left)) if used + left else 0
    return {"total": total, "used": used, "available": left, "percent": f"{percent}%", "location": str(path)}
