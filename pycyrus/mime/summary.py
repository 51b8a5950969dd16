"""All that the store keeps about a message, computed once when it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap
from typing import Final

from pycyrus.mime.dates import parse_date
from pycyrus.mime.envelope import render_envelope
from pycyrus.mime.header import Octets, cached_lines
from pycyrus.mime.limits import DEFAULT_LIMITS, Limits
from pycyrus.mime.preview import make_preview
from pycyrus.mime.render import render_bodies
from pycyrus.mime.sections import encode_sections
from pycyrus.mime.structure import parse
from pycyrus.mime.text import search_form

_COPY_BELOW: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Summary:
    """
    What is known of a message besides its octets.

    @ivar items: One for each L{pycyrus.model.view.CachedItem}, in its order.
    @ivar sent_time: The Date field, in seconds since the epoch; None where it
        is missing or broken.
    @ivar sent_day: Its day as written, disregarding time and zone, in days
        since the epoch.
    @ivar message_id: The field's value, for duplicate suppression.
    @ivar date: The field's value as it stands, likewise.
    """

    items: tuple[bytes, ...]
    sent_time: int | None
    sent_day: int | None
    message_id: bytes | None
    date: bytes | None


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
    moment = parse_date(date) if date else None
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
        None if moment is None else moment[0],
        None if moment is None else moment[1],
        fields.get(b"message-id"),
        date,
    )


def _form(value: bytes | None) -> bytes:
    return search_form(value) if value else b""
