"""
C{pycyrus.header}: who a mailbox is, enough to rebuild the mailbox list from.

Two lines of text: a JSON object, and the CRC-32 of that line in hexadecimal.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from pycyrus.errors import MailboxCorrupted
from pycyrus.store import files

FILE_NAME = "pycyrus.header"


@dataclass(frozen=True, slots=True)
class Header:
    """
    What a mailbox is called and whose it is.

    @ivar unique_id: ASCII, at most 64 octets; stays across renames.
    @ivar name: Internal name, C{user.fred.Sent}.
    @ivar uidvalidity: RFC 9051 section 2.3.1.1.
    @ivar mailbox_type: Empty for mail.
    @ivar quota_root: Internal name; empty if none.
    @ivar acl: Pairs of identifier and rights, a copy of the mailbox list's.
    @ivar created: Seconds since the epoch.
    @ivar uidnext: No UID from here on was used when this was written.
    @ivar highest_modseq: Likewise.
    @ivar special_use: Attributes of RFC 6154, a copy of the mailbox list's.
    """

    unique_id: str
    name: str
    uidvalidity: int
    mailbox_type: str = ""
    quota_root: str = ""
    acl: tuple[tuple[str, str], ...] = ()
    created: int = 0
    uidnext: int = 1
    highest_modseq: int = 1
    special_use: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The octets of the file."""
        line = json.dumps(asdict(self), ensure_ascii=True, sort_keys=True).encode("ascii")
        return b"%b\n%08x\n" % (line, zlib.crc32(line))

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """
        Read the octets of the file.

        @raise MailboxCorrupted: Damaged.
        """
        line, _, rest = data.partition(b"\n")
        if rest.strip() != b"%08x" % zlib.crc32(line):
            raise MailboxCorrupted("mailbox header is damaged")
        try:
            fields = json.loads(line)
            known = {name: fields[name] for name in cls.__slots__ if name in fields}
            known["acl"] = tuple((str(who), str(rights)) for who, rights in known.get("acl", ()))
            known["special_use"] = tuple(map(str, known.get("special_use", ())))
            return cls(**known)
        except (ValueError, TypeError, KeyError) as error:
            raise MailboxCorrupted("mailbox header is damaged") from error


def read_header(meta: Path) -> Header:
    """
    Read a mailbox's header.

    @param meta: Its directory of metadata.
    @raise MailboxCorrupted: Missing or damaged.
    """
    try:
        return Header.decode((meta / FILE_NAME).read_bytes())
    except OSError as error:
        raise MailboxCorrupted(f"mailbox header cannot be read: {error.strerror}") from error


def write_header(meta: Path, header: Header) -> None:
    """
    Put a header in place of an older one, durably.

    @raise OSError: The older one is still there.
    """
    files.replace_file(str(meta / FILE_NAME), header.encode(), sync=True)
