"""All that the store keeps about a message, computed once when it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap
from typing import Final

from pycyrus.mime.dates import parse_date
from pycyrus.mime.envelope import render_envelope
from pycyrus.mime.header import Octets, Use, cached_lines, header_end, last_value, read_fields, split_fields, unfold
from pycyrus.mime.limits import DEFAULT_LIMITS, Limits
from pycyrus.mime.preview import make_preview
from pycyrus.mime.render import render_bodies
from pycyrus.mime.sections import encode_sections
from pycyrus.mime.structure import parse
from pycyrus.mime.text import search_form

_DATE_ALONE: Final = {b"date": int(Use.LAST)}
_COPY_BELOW: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Summary:
    """
    What is known of a message besides its octets.

    @ivar items: One for each L{pycyrus.model.view.CachedItem}, in its order.
    @ivar sent: The Date field, in seconds since the epoch, and its day as
        written, disregarding time and zone, in days since the epoch; None where
        it is missing or broken.
    """

    items: tuple[bytes, ...]
    sent: tuple[int, int] | None


def summarise(data: bytes | bytearray | memoryview | mmap, limits: Limits = DEFAULT_LIMITS) -> Summary:
    """
    Take a message apart and render what FETCH and SEARCH need.

    Never fails, whatever the octets are; time and memory are linear in their
    number.

    @param data: The message.  A large one is best given as an mmap, which is
        not copied.
    """
    octets: Octets = bytes(data) if not isinstance(data, mmap) else data if len(data) > _COPY_BELOW else data[:]
    message = parse(octets, limits)
    root = message.root
    fields = root.fields
    envelope = render_envelope(fields, message.budget)
    body, structure = render_bodies(root, limits, message.budget)
    date = fields.get(b"date")
    return Summary(
        (
            envelope,
            structure,
            body,
            encode_sections(root),
            cached_lines(message.cached, limits.cached_headers),
            make_preview(octets, root),
            _form(fields.get(b"from")),
            _form(fields.get(b"to")),
            _form(fields.get(b"cc")),
            _form(fields.get(b"bcc")),
            _form(fields.get(b"subject")),
        ),
        parse_date(date) if date else None,
    )


def sent_at(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int] | None:
    """What L{summarise} says in C{Summary.sent}, without looking at all the rest."""
    header = data[: min(header_end(data, 0, len(data)), limits.header)]
    value = last_value(header, b"date", limits.fields)
    if value is None:
        found, _cached = read_fields(split_fields(header, limits.fields), _DATE_ALONE, limits.field)
        date = found.get(b"date")
    else:
        date = unfold(value[: limits.field])
    return parse_date(date) if date else None


def sent_or_arrived(sent: tuple[int, int] | None, arrived: int) -> tuple[int, int]:
    """
    When a message was sent, as SENTSINCE and SORT DATE take it (RFC 5256 section 2.2).

    @param sent: As C{Summary.sent}.
    @param arrived: Its internal date, which stands in, in seconds since the epoch.
    @return: Seconds and days since the epoch.
    """
    return (arrived, arrived // 86400) if sent is None else sent


def _form(value: bytes | None) -> bytes:
    return search_form(value) if value else b""
