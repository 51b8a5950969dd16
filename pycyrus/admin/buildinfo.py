"""C{cyr_buildinfo}: tells scripts what this server has of what a Cyrus may have, as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from pycyrus import COMPATIBLE_VERSION, __version__
from pycyrus.admin.source import add_source_options
from pycyrus.app.mail_service import mail_services


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("cyr_buildinfo", help="tell what this server can do, as JSON")
    parser.add_argument("format", nargs="?", choices=("pretty", "dense", "flat"), default="pretty")
    add_source_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it; returns the exit code."""
    told = build_information()
    if arguments.format == "flat":
        for line in _flat(told, ""):
            print(line)
    else:
        print(json.dumps(told, indent=2 if arguments.format == "pretty" else None))
    return 0


def build_information() -> dict[str, dict[str, Any]]:
    """What Cyrus's tells, under its names."""
    services = mail_services()
    return {
        "component": {
            "event_notification": True,
            "gssapi": find_spec("gssapi") is not None,
            "autocreate": True,
            "idled": True,
            "httpd": "httpd" in services,
            "kerberos_v4": False,
            "murder": "mupdate" in services,
            "nntpd": "nntpd" in services,
            "replication": "sync_server" in services,
            # Frontends pass ManageSieve on, but nobody here runs scripts.
            "sieve": False,
            "calalarmd": False,
            "jmap": False,
            "objectstore": False,
            "backup": False,
        },
        "dependency": {"openssl": True, "openssl_alpn": True, "ldap": True, "zlib": True, "jansson": False},
        "database": {"mysql": False, "pgsql": False, "sqlite": True},
        "search": {"squat": False, "xapian": False},
        "hardware": {},
        "version": {"CYRUS_VERSION": f"{COMPATIBLE_VERSION}-pycyrus-{__version__}", "PYCYRUS_VERSION": __version__},
    }


def _flat(told: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in told.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
