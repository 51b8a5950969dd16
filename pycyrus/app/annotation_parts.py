"""What the options say of annotations: which entries there are beyond Cyrus's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.logger import Logger

from pycyrus.config.settings import Settings
from pycyrus.model.acl import ALL_RIGHTS
from pycyrus.model.annotations import (
    MAILBOX_ENTRIES,
    MAX_ENTRY,
    MESSAGE_ENTRIES,
    SERVER_ENTRIES,
    AnnotationDefinitions,
    AnnotationScope,
    Definition,
    ValueKind,
    is_entry,
)

_log = Logger()

_KINDS = {
    "string": ValueKind.TEXT,
    "boolean": ValueKind.SWITCH,
    "int": ValueKind.INTEGER,
    "uint": ValueKind.NATURAL,
}
_PROXY_TYPES = frozenset(("proxy", "backend", "proxy_and_backend"))
_ATTRIBUTES = {
    "value.shared": AnnotationScope.SHARED,
    "value.priv": AnnotationScope.PRIVATE,
    # Of earlier versions; size and content type follow from the value.
    "size.shared": None,
    "size.priv": None,
    "content-type.shared": None,
    "content-type.priv": None,
}
_FIELDS = 6
VENDOR_PREFIX = "/vendor/"


class BadDefinition(ValueError):
    """A line of the file that is none."""


def annotation_definitions(settings: Settings) -> AnnotationDefinitions:
    """All entries: the standard ones, and those of the file."""
    scopes = {"mailbox": dict(MAILBOX_ENTRIES), "server": dict(SERVER_ENTRIES), "message": dict(MESSAGE_ENTRIES)}
    path = settings.text("annotation_definitions")
    if path:
        for scope, entry, definition in _read(Path(path)):
            if entry not in scopes[scope]:
                scopes[scope][entry] = definition
    return AnnotationDefinitions(**scopes, allows_undefined=settings.switch("annotation_allow_undefined"))


def _read(path: Path) -> Iterator[tuple[str, str, Definition]]:
    """What a file defines; a line that is wrong is told of, and passed over."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        _log.error("annotation_definitions: {path} cannot be read: {error}", path=str(path), error=str(error))
        return
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield parse_definition(line)
        except BadDefinition as error:
            _log.error("{path}:{line}: {error}", path=str(path), line=number, error=str(error))


def parse_definition(line: str) -> tuple[str, str, Definition]:
    """
    Read C{name, scope, type, proxy type, attributes, rights}.

    @return: C{mailbox}, C{server} or C{message}; the entry; its definition.
    @raise BadDefinition: It is none.
    """
    fields = [field.strip() for field in line.split(",")]
    if len(fields) == _FIELDS - 1:
        fields.append("")
    if len(fields) != _FIELDS:
        raise BadDefinition("a definition has six fields")
    entry, scope, kind, proxy_type, attributes, rights = fields
    if scope != "message":
        # RFC 5464 section 4.1: case does not matter; in those of messages it does.
        entry = entry.lower()
    if not entry.startswith(VENDOR_PREFIX) or not is_entry(entry) or len(entry) > MAX_ENTRY:
        raise BadDefinition("the name of an annotation must begin with /vendor/")
    if scope not in ("mailbox", "server", "message"):
        raise BadDefinition("the scope must be mailbox, server or message")
    if kind not in _KINDS:
        raise BadDefinition("the type must be string, boolean, int or uint")
    if proxy_type not in _PROXY_TYPES:
        raise BadDefinition("the proxy type must be proxy, backend or proxy_and_backend")
    words = attributes.split()
    if not words or not set(words) <= _ATTRIBUTES.keys():
        raise BadDefinition("the attributes must be value.shared or value.priv")
    having = frozenset(whose for whose in map(_ATTRIBUTES.__getitem__, words) if whose is not None)
    if not having:
        raise BadDefinition("value.shared or value.priv must be among the attributes")
    if not frozenset(rights) <= ALL_RIGHTS:
        raise BadDefinition("these are no rights")
    return scope, entry, Definition(having, rights, _KINDS[kind])
