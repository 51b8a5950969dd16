"""BODY and BODYSTRUCTURE as FETCH prints them (RFC 9051 section 7.5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pycyrus.mime.content import Parameters, parse_disposition, without_comments
from pycyrus.mime.envelope import render_envelope
from pycyrus.mime.limits import Budget, Limits
from pycyrus.mime.strings import NIL, nstring, string, word
from pycyrus.mime.structure import Kind, Part

_MOST_LANGUAGES: Final = 50
_EXTENSIONS: Final = (b"content-disposition", b"content-language", b"content-location")


def render_bodies(part: Part, limits: Limits, budget: Budget) -> tuple[bytes, bytes]:
    """
    Write BODY and BODYSTRUCTURE of a part and what is in it.

    @return: Both, in this order.
    """
    if part.kind is Kind.MULTIPART:
        return _multipart(part, limits, budget)
    fields = part.fields
    start = b"%b %b %b %b %b %b %d" % (
        word(part.media_type),
        word(part.subtype),
        _parameters(part.parameters),
        nstring(fields.get(b"content-id")),
        nstring(fields.get(b"content-description")),
        word(part.encoding),
        part.end - part.body_start,
    )
    extension = b"%b %b" % (nstring(fields.get(b"content-md5")), _common_extension(fields, limits, budget))
    if part.kind is Kind.MESSAGE:
        embedded = part.children[0]
        envelope = render_envelope(embedded.fields, budget)
        body, structure = render_bodies(embedded, limits, budget)
        return (
            b"(%b %b %b %d)" % (start, envelope, body, part.lines),
            b"(%b %b %b %d %b)" % (start, envelope, structure, part.lines, extension),
        )
    if part.media_type == b"TEXT":
        start = b"%b %d" % (start, part.lines)
    return b"(%b)" % start, b"(%b %b)" % (start, extension)


def _multipart(part: Part, limits: Limits, budget: Budget) -> tuple[bytes, bytes]:
    bodies = []
    structures = []
    for child in part.children:
        body, structure = render_bodies(child, limits, budget)
        bodies.append(body)
        structures.append(structure)
    subtype = word(part.subtype)
    return (
        b"(%b %b)" % (b"".join(bodies), subtype),
        b"(%b %b %b %b)"
        % (
            b"".join(structures),
            subtype,
            _parameters(part.parameters),
            _common_extension(part.fields, limits, budget),
        ),
    )


def _common_extension(fields: Mapping[bytes, bytes], limits: Limits, budget: Budget) -> bytes:
    """Disposition, language and location, which stand last in both forms."""
    if not any(name in fields for name in _EXTENSIONS):
        return b"NIL NIL NIL"
    return b"%b %b %b" % (
        _disposition(fields.get(b"content-disposition"), limits, budget),
        _language(fields.get(b"content-language")),
        nstring(fields.get(b"content-location")),
    )


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return NIL
    return b"(%b)" % b" ".join([b"%b %b" % (word(name), string(value)) for name, value in parameters])


def _disposition(value: bytes | None, limits: Limits, budget: Budget) -> bytes:
    disposition = parse_disposition(value, limits, budget) if value else None
    if disposition is None:
        return NIL
    kind, parameters = disposition
    return b"(%b %b)" % (word(kind), _parameters(parameters))


def _language(value: bytes | None) -> bytes:
    """RFC 3282 section 2: a list of tags, with comments."""
    value = value or b""
    if b"(" in value:
        value = without_comments(value)
    tags = [tag.strip() for tag in value.split(b",", _MOST_LANGUAGES)[:_MOST_LANGUAGES]]
    tags = [tag for tag in tags if tag]
    if not tags:
        return NIL
    return b"(%b)" % b" ".join(string(tag) for tag in tags)
