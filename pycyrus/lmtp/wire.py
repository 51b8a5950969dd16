"""
The grammar of LMTP: command lines to values, replies to octets.

RFC 2033 section 4, RFC 5321 section 4.1; no I/O.  Where the grammar of RFC 5321
is narrower than what mail transfer agents send to mailboxes, such as a slash
in an unquoted local part, the wider form is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

MAX_LINE = 4096
"""Octets of a command line with its CRLF: RFC 5321 section 4.5.3.1.4, with room for extensions."""
MAX_SASL_LINE = 12288
"""RFC 4954 section 4: a base64 line of an AUTH exchange."""
MAX_PARAMETERS = 16
MAX_LOCAL_PART = 1024
"""RFC 5321 section 4.5.3.1.1 has 64 octets; a detail may be a long folder name."""
MAX_DOMAIN = 255


class BadArguments(ValueError):
    """The arguments of a command are not what its grammar allows."""


class UnknownParameter(ValueError):
    """A parameter that no extension offered here defines (RFC 5321 section 4.1.1.11)."""


@dataclass(frozen=True, slots=True)
class Address:
    """
    A mailbox or path, taken apart; the null reverse path is all empty.

    @ivar local_part: Unquoted.
    @ivar domain: As written; empty if there was none.
    """

    local_part: str
    domain: str = ""

    def encode(self) -> str:
        """As it stands between angle brackets."""
        local_part = self.local_part
        if local_part and not _DOT_STRING.fullmatch(local_part):
            quoted = re.sub(r'(["\\])', r"\\\1", local_part)
            local_part = f'"{quoted}"'
        return f"{local_part}@{self.domain}" if self.domain else local_part


NULL_PATH = Address("")


@dataclass(frozen=True, slots=True)
class Lhlo:
    """RFC 2033 section 4.1."""

    client_name: str


@dataclass(frozen=True, slots=True)
class MailFrom:
    """
    RFC 5321 section 4.1.1.2.

    @ivar size: RFC 1870; None if not announced.
    @ivar auth: RFC 4954 section 5, decoded; empty for C{<>}, None for none.
    @ivar utf8: SMTPUTF8 was said (RFC 6531 section 3.4).
    @ivar binary: C{BODY=BINARYMIME} was said (RFC 3030 section 3).
    """

    sender: Address
    size: int | None = None
    auth: str | None = None
    utf8: bool = False
    binary: bool = False


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RFC 5321 section 4.1.1.3, with the IGNOREQUOTA of Cyrus."""

    recipient: Address
    ignore_quota: bool = False


@dataclass(frozen=True, slots=True)
class Bdat:
    """
    RFC 3030 section 2.

    @ivar size: Octets that follow.
    @ivar last: They are the last of the message.
    """

    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class Auth:
    """
    RFC 4954 section 4.

    @ivar initial: Still base64; C{=} for an empty one, None for none.
    """

    mechanism: str
    initial: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A reply (RFC 5321 section 4.2).

    @ivar enhanced: Enhanced status code (RFC 2034); empty for replies that
        have none: the greeting, those to LHLO, and those that ask for more.
    @ivar lines: At least one.
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    def encode(self) -> bytes:
        """The octets; RFC 2034 section 4 wants the enhanced code on each line."""
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        if len(self.lines) == 1:
            return f"{self.code} {enhanced}{self.lines[0]}\r\n".encode("ascii", "replace")
        last = len(self.lines) - 1
        text = "".join(
            f"{self.code}{' ' if i == last else '-'}{enhanced}{line}\r\n" for i, line in enumerate(self.lines)
        )
        return text.encode("ascii", "replace")

    def line(self) -> bytes:
        """The octets without the line end, for a session's last word."""
        return self.encode().removesuffix(b"\r\n")


# --- lines --------------------------------------------------------------------

_BAD_OCTETS = re.compile(rb"[\x00\r\n]")


def split_verb(line: bytes) -> tuple[bytes, bytes]:
    """
    Take the verb from a command line.

    @param line: Without its CRLF.

    @return: The verb in upper case, and its arguments.

    @raise BadArguments: NUL, a bare CR or a bare LF.
    """
    if _BAD_OCTETS.search(line):
        raise BadArguments("control characters in a command")
    verb, _, arguments = line.partition(b" ")
    return verb.upper(), arguments.strip(b" ")


# --- addresses ----------------------------------------------------------------

_DOT_STRING = re.compile(r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+")
_ATOMS = re.compile(rb"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+")
_QUOTED = re.compile(rb'"((?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*)"')
_DOMAIN = re.compile(
    rb"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_UTF8_DOMAIN = re.compile(rb"[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9_.\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?\.?")
_LITERAL = re.compile(rb"\[[\x21-\x5a\x5e-\x7e]{1,253}\]")
_ROUTE = re.compile(rb"@[A-Za-z0-9._\-\[\]:]{1,255}(?:,@[A-Za-z0-9._\-\[\]:]{1,255}){0,31}:")
_MUNGED = bytes(range(128)) + b"X" * 128
_SHORT_PATH = 128
"""Octets of a path that is remembered."""


def parse_path(text: bytes, *, strict: bool = True, utf8: bool = False) -> tuple[Address, bytes]:
    """
    Read a path, C{<@route:local@domain>}, whose source route is dropped.

    @param strict: Refuse octets above 127; otherwise each becomes an C{X}.
    @param utf8: Read them as UTF-8 (RFC 6531 section 3.3).

    @return: The address, and what follows the path.

    @raise BadArguments: It is none.
    """
    end = text.find(b">") + 1
    if 0 < end <= _SHORT_PATH and text.find(b'"', 0, end) < 0:
        # Those who send, and those who get, much mail come again and again.
        return _parse_whole(text[:end], strict, utf8), text[end:]
    return _parse_path(text, strict, utf8)


@lru_cache(maxsize=1024)
def _parse_whole(text: bytes, strict: bool, utf8: bool) -> Address:
    """A path with nothing after it."""
    return _parse_path(text, strict, utf8)[0]


def _parse_path(text: bytes, strict: bool, utf8: bool) -> tuple[Address, bytes]:
    if not text.startswith(b"<"):
        raise BadArguments("no path")
    if not text.isascii() and not utf8:
        if strict:
            raise BadArguments("not ASCII")
        text = text.translate(_MUNGED)
    position = 1
    if route := _ROUTE.match(text, position):
        position = route.end()
    local_part, position = _local_part(text, position)
    domain = b""
    if text[position : position + 1] == b"@":
        found = (_UTF8_DOMAIN if utf8 else _DOMAIN).match(text, position + 1) or _LITERAL.match(text, position + 1)
        if found is not None:
            domain = found.group()
            position = found.end()
        elif text[position + 1 : position + 2] == b">":
            # Not in the grammar, but Cyrus takes it for no domain, and so do socket maps.
            position += 1
        if not local_part or len(domain) > MAX_DOMAIN:
            raise BadArguments("no domain")
    if text[position : position + 1] != b">":
        raise BadArguments("no end of the path")
    try:
        return Address(local_part.decode("utf-8"), domain.decode("utf-8")), text[position + 1 :]
    except UnicodeDecodeError as error:
        raise BadArguments("not UTF-8") from error


def _local_part(text: bytes, position: int) -> tuple[bytes, int]:
    if quoted := _QUOTED.match(text, position):
        local_part = re.sub(rb"\\(.)", rb"\1", quoted.group(1))
        end = quoted.end()
    elif atoms := _ATOMS.match(text, position):
        local_part = atoms.group()
        end = atoms.end()
    else:
        return b"", position
    if len(local_part) > MAX_LOCAL_PART or not local_part:
        raise BadArguments("no local part")
    return local_part, end


# --- parameters -----------------------------------------------------------------

_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]{0,31})(?:=([\x21-\x3c\x3e-\x7e]{1,1024}))?")
_XTEXT = re.compile(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_XCHAR = re.compile(rb"\+([0-9A-F]{2})")


def parse_parameters(text: bytes) -> dict[bytes, bytes | None]:
    """
    Read C{KEYWORD[=value]} after a path.

    @param text: From the path's end on, so it begins with a space or is
        empty.

    @return: Values by upper-case keyword; None for a keyword alone.

    @raise BadArguments: Not parameters, one twice, or too many.
    """
    if not text:
        return {}
    if not text.startswith(b" "):
        raise BadArguments("no space before the parameters")
    words = text.split()
    if len(words) > MAX_PARAMETERS:
        raise BadArguments("too many parameters")
    parameters: dict[bytes, bytes | None] = {}
    for word in words:
        found = _PARAMETER.fullmatch(word)
        if found is None or found.group(1).upper() in parameters:
            raise BadArguments("no parameter")
        parameters[found.group(1).upper()] = found.group(2)
    return parameters


def decode_xtext(text: bytes) -> str:
    """
    Decode an xtext (RFC 3461 section 4).

    @raise BadArguments: It is none, or not ASCII inside.
    """
    if not _XTEXT.fullmatch(text):
        raise BadArguments("no xtext")
    decoded = _XCHAR.sub(lambda found: bytes((int(found.group(1), 16),)), text)
    if not decoded.isascii() or re.search(rb"[\x00-\x20\x7f]", decoded):
        raise BadArguments("no user id in an xtext")
    return decoded.decode("ascii")


# --- arguments of each command ----------------------------------------------------

_CLIENT_NAME = re.compile(rb"[\x21-\x7e]{1,255}")
_SIZE = re.compile(rb"[0-9]{1,20}")
_BODIES = (b"7BIT", b"8BITMIME", b"BINARYMIME")
_SMTPUTF8 = re.compile(rb"> (?:\S+ +)*SMTPUTF8(?: |\Z)", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9]{1,20})( +LAST)?", re.IGNORECASE)
_MECHANISM = re.compile(rb"[A-Za-z0-9_-]{1,20}")


def parse_lhlo(arguments: bytes) -> Lhlo:
    """
    RFC 2033 section 4.1; any word is taken for a name, it is only for the trace.

    @raise BadArguments: No word, or more than one.
    """
    if not _CLIENT_NAME.fullmatch(arguments):
        raise BadArguments("no name")
    return Lhlo(arguments.decode("ascii"))


def parse_mail(arguments: bytes, *, strict: bool = True) -> MailFrom:
    """
    Read C{FROM:<path> [SIZE=n] [BODY=...] [AUTH=...]}.

    @raise BadArguments: It is not that.
    @raise UnknownParameter: Another parameter.
    """
    wants_utf8 = _SMTPUTF8.search(arguments) is not None
    sender, parameters = _path_and_parameters(b"FROM:", arguments, strict, wants_utf8)
    size: int | None = None
    auth: str | None = None
    utf8 = binary = False
    for keyword, value in parameters.items():
        match keyword, value:
            case b"SIZE", bytes():
                # RFC 1870 section 5: up to 20 digits.
                if not _SIZE.fullmatch(value):
                    raise BadArguments("no size")
                size = int(value)
            case b"BODY", bytes():
                if value.upper() not in _BODIES:
                    raise BadArguments("no body type")
                binary = value.upper() == b"BINARYMIME"
            case b"AUTH", bytes():
                auth = "" if value == b"<>" else decode_xtext(value)
            case b"SMTPUTF8", None:
                utf8 = True
            case ((b"SIZE" | b"BODY" | b"AUTH"), None):
                raise BadArguments("a parameter without its value")
            case _:
                raise UnknownParameter
    if wants_utf8 and not utf8:
        raise BadArguments("SMTPUTF8 within an address")
    return MailFrom(sender, size, auth, utf8, binary)


def parse_rcpt(arguments: bytes, *, strict: bool = True, utf8: bool = False) -> RcptTo:
    """
    Read C{TO:<path> [IGNOREQUOTA]}.

    @raise BadArguments: It is not that.
    @raise UnknownParameter: Another parameter.
    """
    recipient, parameters = _path_and_parameters(b"TO:", arguments, strict, utf8)
    if recipient == NULL_PATH:
        raise BadArguments("no recipient")
    ignore_quota = b"IGNOREQUOTA" in parameters
    if len(parameters) > ignore_quota:
        raise UnknownParameter
    if ignore_quota and parameters[b"IGNOREQUOTA"] is not None:
        raise BadArguments("IGNOREQUOTA has no value")
    return RcptTo(recipient, ignore_quota)


def parse_bdat(arguments: bytes) -> Bdat | None:
    """Read C{size [LAST]}; None if it is not that, and what follows is nobody knows what."""
    found = _CHUNK.fullmatch(arguments)
    return Bdat(int(found[1]), found[2] is not None) if found is not None else None


def parse_auth(arguments: bytes) -> Auth:
    """
    Read C{mechanism [initial-response]}.

    @raise BadArguments: It is not that.
    """
    mechanism, space, initial = arguments.partition(b" ")
    if not _MECHANISM.fullmatch(mechanism) or b" " in initial:
        raise BadArguments("no mechanism")
    return Auth(mechanism.decode("ascii").upper(), initial if space else None)


def parse_nothing(arguments: bytes) -> None:
    """
    Read the arguments of a command that has none.

    @raise BadArguments: There are some.
    """
    if arguments:
        raise BadArguments("no arguments wanted")


def parse_anything(arguments: bytes) -> bytes:
    """Read arguments that do not matter (RFC 5321 sections 4.1.1.6, 4.1.1.8, 4.1.1.9)."""
    return arguments


def _path_and_parameters(
    keyword: bytes, arguments: bytes, strict: bool, utf8: bool
) -> tuple[Address, Mapping[bytes, bytes | None]]:
    if arguments[: len(keyword)].upper() != keyword:
        raise BadArguments("no keyword before the path")
    # A space after the colon is not in the grammar, but often sent.
    address, rest = parse_path(arguments[len(keyword) :].lstrip(b" "), strict=strict, utf8=utf8)
    return address, parse_parameters(rest)
