"""ManageSieve as a service: C{cmd="timsieved"}, which is the edge of a frontend."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from pycyrus.app.context import Context, product
from pycyrus.config.settings import Settings
from pycyrus.managesieve.protocol import SieveFactory
from pycyrus.managesieve.settings import SieveSettings

_log = Logger()

_ALWAYS = ("encoded-character", "comparator-i;ascii-numeric")

_TOLD = {
    "fileinto": "fileinto",
    "reject": "reject ereject",
    "vacation": "vacation",
    "vacation-seconds": "vacation-seconds",
    "notify": "notify enotify",
    "include": "include",
    "editheader": "editheader",
    "snooze": "vnd.cyrus.snooze",
    "vnd.cyrus.snooze": "vnd.cyrus.snooze",
    "vnd.cyrus.imip": "vnd.cyrus.imip",
    "envelope": "envelope",
    "environment": "environment",
    "body": "body",
    "imap4flags": "imap4flags",
    "imapflags": "imap4flags",
    "date": "date",
    "ihave": "ihave",
    "mailbox": "mailbox",
    "mboxmetadata": "mboxmetadata",
    "servermetadata": "servermetadata",
    "duplicate": "duplicate",
    "vnd.cyrus.jmapquery": "vnd.cyrus.jmapquery",
    "relational": "relational",
    "regex": "regex",
    "extlists": "extlists",
    "subaddress": "subaddress",
    "copy": "copy",
    "index": "index",
    "variables": "variables",
    "redirect-deliverby": "redirect-deliverby",
    "redirect-dsn": "redirect-dsn",
    "special-use": "special-use",
    "fcc": "fcc",
    "mailboxid": "mailboxid",
}
"""How each word of C{sieve_extensions} is told, in the order of Cyrus's."""


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    frontend = context.frontend()
    if frontend is None:
        _log.warn("{name}: Sieve scripts are not run here; ManageSieve refuses them", name=name)
    return SieveFactory(
        context.authenticator(settings, "timsieved"),
        sieve_settings(settings, name, context.server_name, has_scripts=frontend is not None),
        context.limits(settings, "timsieved"),
        context.tls.optional(settings),
        context.reactor,
        None if frontend is None else frontend.sieve,
    )


def sieve_settings(settings: Settings, name: str, server_name: str, *, has_scripts: bool) -> SieveSettings:
    """
    What the options say of a ManageSieve service.

    @param has_scripts: There are servers behind it that run them.
    """
    program = "Cyrus timsieved (Murder)" if settings.text("mupdate_server") else "Cyrus timsieved"
    return SieveSettings(
        implementation=product(settings, program) or "ManageSieve",
        extensions=extensions(settings.words("sieve_extensions")) if has_scripts else "",
        service=name,
        server_name=server_name,
        login_timeout=float(settings.duration("login_timeout")),
        timeout=max(float(settings.duration("timeout")), 1800.0),
        max_errors=settings.integer("unauthenticated_errors"),
    )


def extensions(words: Sequence[str]) -> str:
    """What clients are told of the words of C{sieve_extensions}; empty for none."""
    wanted = {word.lower() for word in words}
    told = dict.fromkeys(text for word, text in _TOLD.items() if word in wanted)
    return " ".join((*_ALWAYS, *told)) if told else ""
