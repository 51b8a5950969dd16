"""
C{pycyrus deliver}, Cyrus's C{deliver}: hands a message to the server, for mail transfer agents that run a program.

It says LMTP (RFC 2033) at C{lmtpsocket}; the exit code is one of sysexits(3),
by which an agent bounces or tries again.
"""

from __future__ import annotations

import argparse
import os
import re
import smtplib
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from pycyrus.admin.source import add_source_options, source_of
from pycyrus.config.load import load

TIMEOUT = 300.0
"""Seconds for any one answer."""

_CODES = {
    b"5.1.1": os.EX_NOUSER,
    b"5.7.1": os.EX_NOPERM,
    b"5.2.2": os.EX_CANTCREAT,
    b"5.6.0": os.EX_DATAERR,
}
_MBOX_LINE = re.compile(rb"\A>?From [^\n]*\n")
_BLOCK = 65536


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "deliver",
        help="deliver a message from standard input",
        description="Delivers the message on standard input to each USER; without one, with -m, to a shared mailbox.",
    )
    parser.add_argument("-r", "-f", metavar="ADDRESS", dest="sender", help="return path")
    parser.add_argument("-m", metavar="MAILBOX", dest="mailbox", help="a folder of the user, or a shared mailbox")
    parser.add_argument("-a", metavar="USER", dest="authid", help="by whose rights to post")
    parser.add_argument("-q", dest="ignore_quota", action="store_true", help="deliver even if the quota is used up")
    parser.add_argument("-l", dest="lmtp", action="store_true", help="speak LMTP on standard input and output instead")
    parser.add_argument("-e", "-E", "-d", dest="_ignored", action="store_true", help="nothing; for old callers")
    parser.add_argument("-D", dest="debug", action="store_true", help="print the dialogue on standard error")
    parser.add_argument("-F", metavar="FLAG", dest="_flag", help="nothing; for old callers")
    parser.add_argument("users", metavar="USER", nargs="*")
    add_source_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """
    Deliver.

    @return: 0 if all recipients have it; else what happened to the first that has not, but first of all that one is
        to be tried again.
    """
    settings = load(source_of(arguments)).settings
    path = settings.text("lmtpsocket")
    try:
        if arguments.lmtp:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                relay(server, sys.stdin.buffer, sys.stdout.buffer)
            return os.EX_OK
        return _deliver(arguments, path, settings.text("postuser"))
    except (OSError, smtplib.SMTPException) as error:
        print(f"deliver: {path}: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL


def recipients_of(users: list[str], mailbox: str | None, post_user: str) -> list[str]:
    """The local parts or addresses to deliver to."""
    if mailbox is None:
        return users
    if not users:
        return [f"{post_user}+{mailbox}"]
    found = []
    for user in users:
        local_part, at, domain = user.partition("@")
        found.append(f"{local_part}+{mailbox}{at}{domain}")
    return found


def _deliver(arguments: argparse.Namespace, path: str, post_user: str) -> int:
    recipients = recipients_of(arguments.users, arguments.mailbox, post_user)
    if not recipients:
        print("deliver: nobody to deliver to", file=sys.stderr)
        return os.EX_USAGE
    with smtplib.LMTP(path) as client:
        client.set_debuglevel(1 if arguments.debug else 0)
        assert client.sock is not None
        client.sock.settimeout(TIMEOUT)
        client.ehlo_or_helo_if_needed()
        auth = [f"AUTH={_xtext(arguments.authid)}"] if arguments.authid else []
        answers = [client.mail(arguments.sender or "", auth)]
        if answers[0][0] // 100 != 2:
            return _told("", *answers[0])
        options = ["IGNOREQUOTA"] if arguments.ignore_quota else []
        accepted = []
        codes = []
        for recipient in recipients:
            code, text = client.rcpt(_quoted(recipient), options)
            if code // 100 == 2:
                accepted.append(recipient)
            else:
                codes.append(_told(recipient, code, text))
        if accepted:
            codes += _send(client, accepted, sys.stdin.buffer)
    return os.EX_TEMPFAIL if os.EX_TEMPFAIL in codes else next((code for code in codes if code), os.EX_OK)


def _send(client: smtplib.LMTP, recipients: list[str], message: BinaryIO) -> list[int]:
    code, text = client.docmd("DATA")
    if code != 354:
        return [_told(recipient, code, text) for recipient in recipients]
    for piece in dotted(message.read, _BLOCK):
        client.send(piece)
    return [_told(recipient, *client.getreply()) for recipient in recipients]


def dotted(read: Callable[[int], bytes], size: int) -> Any:
    """
    A message as it goes over the wire (RFC 5321 section 4.5.2), piece by piece.

    @param read: Gives at most that many octets, none at the end; lines end with
        LF or CRLF.  A first line C{From }, of mailbox files, is left out.
    """
    held = _MBOX_LINE.sub(b"", read(size))
    while more := read(size):
        held += more
        end = held.rfind(b"\n") + 1
        if end:
            yield _stuffed(held[:end])
            held = held[end:]
    if held:
        yield _stuffed(held if held.endswith(b"\n") else held + b"\n")
    yield b".\r\n"


def _stuffed(lines: bytes) -> bytes:
    return re.sub(rb"(?m)^\.", b"..", re.sub(rb"\r*\n", b"\r\n", lines))


def relay(server: socket.socket, given: BinaryIO, told: BinaryIO) -> None:
    """Pass octets both ways until the server is done (C{-l})."""

    def upwards() -> None:
        while data := os.read(given.fileno(), _BLOCK):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    threading.Thread(target=upwards, daemon=True).start()
    while data := server.recv(_BLOCK):
        told.write(data)
        told.flush()


def _told(recipient: str, code: int, text: bytes) -> int:
    """Print why something was refused; returns the exit code."""
    if code // 100 == 2:
        return os.EX_OK
    last = text.splitlines()[-1] if text else b""
    print(f"{recipient}: {code} {last.decode('ascii', 'replace')}", file=sys.stderr)
    if code // 100 != 5:
        return os.EX_TEMPFAIL
    return _CODES.get(last.partition(b" ")[0], os.EX_UNAVAILABLE)


def _quoted(recipient: str) -> str:
    """With the local part in quotes if it needs them."""
    local_part, at, domain = recipient.rpartition("@") if "@" in recipient else (recipient, "", "")
    if re.fullmatch(r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+", local_part):
        return recipient
    escaped = re.sub(r'(["\\])', r"\\\1", local_part)
    return f'"{escaped}"{at}{domain}'


def _xtext(text: str) -> str:
    """RFC 3461 section 4."""
    return re.sub(r"[^!-*,-<>-~]", lambda found: f"+{ord(found[0]):02X}", text)
