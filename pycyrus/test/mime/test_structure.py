"""The tree of parts against the standard library, and on garbage."""

from __future__ import annotations

import email
import email.message
import email.policy
import re
import tempfile
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime import structure
from pycyrus.mime.limits import Limits
from pycyrus.mime.sections import SectionText, encode_sections, locate, part_encoding, sections
from pycyrus.mime.structure import Kind, Part, parse
from pycyrus.mime.summary import summarise
from pycyrus.model.view import CACHED_ITEMS
from pycyrus.testing.messages import generate

_QUICK = settings(max_examples=150, deadline=None, database=None)
_LIMITS = Limits()

_lines = st.lists(st.text("ab -=:<>\t'\"(é", max_size=20).map(str.encode), max_size=6).map(b"\r\n".join)


def _file_memory() -> int:
    """Octets of files that are mapped into this process."""
    found = re.search(r"RssFile:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) * 1024


@st.composite
def _entities(draw: st.DrawFn, depth: int = 0, typed: bool = False) -> bytes:
    """A body part or message with a well-formed header, and with a Content-Type if that must be."""
    kinds = ["text", "text" if typed else "none", "base64"] + (["multipart", "message"] if depth < 3 else [])
    kind = draw(st.sampled_from(kinds))
    other = draw(st.sampled_from([b"", b"X-Other: a\r\n b\r\n", b"Content-ID: <1@x>\r\n"]))
    if kind == "none":
        return other + b"\r\n" + draw(_lines)
    if kind == "text":
        subtype = draw(st.sampled_from([b"plain", b"html", b"CSV; charset=utf-8", b'x-y; name="a;b\\"c"']))
        return b"Content-Type: text/" + subtype + b"\r\n" + other + b"\r\n" + draw(_lines)
    if kind == "base64":
        start = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"
        return start + other + b"\r\nAAAA\r\nBBBB" + draw(st.sampled_from([b"", b"\r\n"]))
    if kind == "message":
        return b"Content-type: message/rfc822\r\n" + other + b"\r\nSubject: x\r\n" + draw(_entities(depth=depth + 1))
    boundary = b"b%d%b" % (depth, draw(st.sampled_from([b"", b"x", b"--", b" y"])))
    subtype = draw(st.sampled_from([b"mixed", b"digest"]))
    parts = draw(st.lists(_entities(depth=depth + 1, typed=subtype == b"digest"), min_size=1, max_size=3))
    lines = [b'Content-Type: multipart/%b; boundary="%b"\r\n' % (subtype, boundary)]
    lines += [other, b"\r\n", draw(st.sampled_from([b"", b"preamble\r\n"]))]
    for part in parts:
        lines += [b"--", boundary, draw(st.sampled_from([b"", b" \t"])), b"\r\n", part, b"\r\n"]
    lines += [b"--", boundary, b"--", draw(st.sampled_from([b"", b"\r\n", b"\r\nepilogue"]))]
    return b"".join(lines)


def _standard(data: bytes) -> email.message.Message:
    return email.message_from_bytes(data, policy=email.policy.compat32)


def _shape(message: email.message.Message | str) -> object:
    """Types, parameters and bodies as the standard library sees them."""
    assert not isinstance(message, str)
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        return (message.get_content_subtype().upper(), [_shape(part) for part in message.get_payload()])
    if message.get_content_maintype() == "message":
        return (message.get_content_type().upper(), [_shape(part) for part in message.get_payload()])
    # get_payload() would decode 8-bit text.
    payload = message._payload  # type: ignore[attr-defined]
    return (message.get_content_type().upper(), payload.encode("ascii", "surrogateescape"))


def _our_shape(data: bytes, part: Part) -> object:
    if part.kind is Kind.MULTIPART:
        return (part.subtype.decode(), [_our_shape(data, child) for child in part.children])
    name = f"{part.media_type.decode()}/{part.subtype.decode()}"
    if part.kind is Kind.MESSAGE:
        return (name, [_our_shape(data, child) for child in part.children])
    return (name, data[part.body_start : part.end])


def _parts(part: Part) -> list[Part]:
    found = [part]
    for child in part.children:
        found += _parts(child)
    return found


class StandardLibraryTests(SynchronousTestCase):
    """Well-formed messages are read as Python's email package reads them."""

    @_QUICK
    @given(_entities())
    def test_generated(self, data: bytes) -> None:
        """Structure, types and the octets of every body."""
        data = b"From: a@b\r\n" + data
        self.assertEqual(_our_shape(data, parse(data).root), _shape(_standard(data)))

    def test_realistic(self) -> None:
        """Likewise for messages as they come."""
        for data in generate(150, 3):
            root = parse(data).root
            standard = _standard(data)
            self.assertEqual(_our_shape(data, root), _shape(standard))
            for part, other in zip(_parts(root), standard.walk(), strict=True):
                encoding = other.get("Content-Transfer-Encoding", "7bit").upper().encode()
                self.assertEqual(part.encoding, encoding)
                given = dict(part.parameters)
                for name, value in other.get_params([], unquote=True)[1:]:
                    if isinstance(value, str):
                        self.assertEqual(given[name.upper().encode()], value.encode())
                if part.media_type == b"TEXT":
                    self.assertEqual(part.lines, data[part.body_start : part.end].count(b"\n"))

    def test_boundaries_in_pieces(self) -> None:
        """A mapped file is looked through piece by piece, wherever the delimiters lie."""
        self.patch(structure, "_STEP", 7)
        for data in generate(2, 40):
            mapped = mmap(-1, len(data))
            mapped.write(data)
            self.addCleanup(mapped.close)
            self.assertEqual(summarise(mapped), summarise(data))

    def test_files_take_no_memory(self) -> None:
        """What was looked at of a large file does not count as memory of the process."""
        size = 24 << 20
        for header in (b"", b"Content-Type: multipart/mixed; boundary=b\r\n"):
            with tempfile.TemporaryFile() as file:
                file.write(b"Subject: large\r\n" + header + b"\r\n")
                # A hole is read as zeros, from the page cache like all else.
                file.truncate(size)
                with mmap(file.fileno(), size, access=ACCESS_READ) as mapped:
                    before = _file_memory()
                    self.assertEqual(parse(mapped).root.end, size)
                    self.assertLess(_file_memory() - before, size // 3)

    def test_mmap(self) -> None:
        """A large message in a mapped file gives what its octets give."""
        data = next(generate(1, 5)) + b"x\r\n" * 1_500_000
        mapped = mmap(-1, len(data))
        mapped.write(data)
        self.addCleanup(mapped.close)
        self.assertEqual(summarise(mapped), summarise(data))
        self.assertEqual(summarise(memoryview(data)), summarise(bytearray(data)))


_PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"=", b'"', b"\\", b"(", b")", b"<", b">", b",", b"@", b"--",
    b"--a", b"--ab", b"--a--", b"boundary=a", b'boundary="ab"', b"a", b"\xc3\xa9", b"\xff", b"\0", b"From:", b"To: ",
    b"Cc", b"Subject:", b"Date: ", b"Content-Type: ", b"multipart/mixed", b"text/html", b"message/rfc822",
    b"Content-Disposition:", b"Content-Language:", b"Content-Transfer-Encoding:", b"base64", b"quoted-printable",
    b"=?utf-8?q?", b"?=", b"<!--", b"<style>", b"=4", b"+9999", b"31",
]  # fmt: skip


class GarbageTests(SynchronousTestCase):
    """Every octet string is a message."""

    def _check(self, data: bytes) -> None:
        summary = summarise(data)
        self.assertEqual(len(summary.items), CACHED_ITEMS)
        for section in sections(summary.items[3]):
            self.assertLessEqual(section.start + section.header + section.body, len(data))
        self.assertEqual(locate(summary.items[3], (), SectionText.WHOLE), (0, len(data)))
        for item in summary.items[:3]:
            self.assertNotIn(b"\0", item)
            self._check_parentheses(item)

    def _check_parentheses(self, item: bytes) -> None:
        """The item is one balanced list, once strings are skipped."""
        depth = position = 0
        while position < len(item):
            octet = item[position : position + 1]
            if octet == b'"':
                position += 1
                while item[position : position + 1] != b'"':
                    self.assertNotIn(item[position], b"\r\n")
                    self.assertLess(item[position], 128)
                    position += 2 if item[position : position + 1] == b"\\" else 1
            elif octet == b"{":
                end = item.index(b"}\r\n", position)
                position = end + 2 + int(item[position + 1 : end])
            elif octet == b"(":
                depth += 1
            elif octet == b")":
                depth -= 1
                self.assertTrue(depth or position == len(item) - 1)
            position += 1
        self.assertEqual(depth, 0)

    @_QUICK
    @given(st.binary(max_size=400))
    def test_binary(self, data: bytes) -> None:
        """Any octets."""
        self._check(data)

    @_QUICK
    @given(
        st.lists(
            st.sampled_from(_PIECES),
            max_size=60,
        )
    )
    def test_pieces(self, pieces: list[bytes]) -> None:
        """Words that mean something, in any order."""
        self._check(b"".join(pieces))

    @_QUICK
    @given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8))
    def test_mutated(self, which: int, changes: list[tuple[int, int]]) -> None:
        """Realistic messages with octets changed, and cut off."""
        data = bytearray(_MESSAGES[which])
        for position, octet in changes:
            data[position % len(data)] = octet
        self._check(bytes(data))
        if changes:
            self._check(bytes(data[: changes[0][0] % len(data)]))


_MESSAGES = list(generate(41, 11))

_MULTIPART = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n'


def _bodies(data: bytes) -> list[bytes]:
    return [data[part.body_start : part.end] for part in parse(data).root.children]


class BoundaryTests(SynchronousTestCase):
    """RFC 2046 section 5.1.1, and what is sent instead."""

    def test_broken(self) -> None:
        """The bodies of the parts of multiparts that are not as they should be."""
        table: tuple[tuple[bytes, bytes, list[bytes]], ...] = (
            (b"no closing delimiter", b"--a\r\n\r\none\r\n--a\r\n\r\ntwo", [b"one", b"two"]),
            (b"prefix of a longer word", b"--a\r\n\r\none\r\n--ab\r\ntwo\r\n--a--", [b"one\r\n--ab\r\ntwo"]),
            (b"not at the line's start", b"--a\r\n\r\none --a\r\n --a\r\n--a--", [b"one --a\r\n --a"]),
            (b"parts after the end", b"--a\r\n\r\none\r\n--a--\r\n--a\r\n\r\ntwo\r\n--a--", [b"one"]),
            (b"space after", b"--a \t\r\n\r\none\r\n--a-- \r\nrest", [b"one"]),
            (b"empty parts", b"--a\r\n--a\r\n\r\n--a--", [b"", b""]),
            (b"bare LF", b"--a\n\none\n--a\n\ntwo\n--a--\n", [b"one", b"two"]),
            (b"preamble", b"one\r\n--a\r\n\r\ntwo\r\n--a--", [b"two"]),
        )
        for what, body, bodies in table:
            self.assertEqual(_bodies(_MULTIPART % b"a" + body), bodies, what)

    def test_outer_ends_inner(self) -> None:
        """A delimiter of the outer multipart ends the inner one."""
        data = _MULTIPART % b"a" + b"--a\r\n" + _MULTIPART % b"a1" + b"--a1\r\n\r\none\r\n--a\r\n\r\ntwo\r\n--a--\r\n"
        root = parse(data).root
        self.assertEqual([part.kind for part in root.children], [Kind.MULTIPART, Kind.SINGLE])
        inner = root.children[0].children
        self.assertEqual([data[part.body_start : part.end] for part in inner], [b"one"])

    def test_without_boundary(self) -> None:
        """A multipart that cannot be taken apart is text, and all of it can be fetched."""
        for data in (
            b"Content-Type: multipart/mixed\r\n\r\ntext\r\n",
            b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\n----\r\n',
        ):
            root = parse(data).root
            self.assertEqual((root.media_type, root.subtype, root.kind), (b"TEXT", b"PLAIN", Kind.SINGLE))
            item = encode_sections(root)
            self.assertEqual(locate(item, (1,), SectionText.WHOLE), (root.body_start, len(data) - root.body_start))

    def test_without_parts(self) -> None:
        """A multipart in whose body no boundary is has one empty part, as no multipart may have none."""
        for body in (b"", b"text\r\n", b"--a--\r\n", b"text\r\n--a--\r\n"):
            data = b"Content-Type: multipart/digest; boundary=a\r\n\r\n" + body
            root = parse(data).root
            self.assertEqual((root.subtype, root.kind, root.end), (b"DIGEST", Kind.MULTIPART, len(data)), body)
            self.assertEqual(_bodies(data), [b""], body)
            item = encode_sections(root)
            self.assertEqual(locate(item, (), SectionText.TEXT), (root.body_start, len(body)), body)

    def test_line_ends_with_two_meanings(self) -> None:
        """
        The line end of a closing delimiter or of a header belongs to the part, also before a boundary.

        Cyrus and Dovecot count so, and clients compare sizes.
        """
        inner = _MULTIPART % b"in" + b"--in\r\n\r\none\r\n--in--"
        message = b"Content-Type: message/rfc822\r\n\r\n"
        table: tuple[tuple[bytes, bytes], ...] = (
            (inner + b"\r\n", b"--in\r\n\r\none\r\n--in--\r\n"),
            (inner + b"  \r\n", b"--in\r\n\r\none\r\n--in--  \r\n"),
            (inner + b"\r\n\r\n", b"--in\r\n\r\none\r\n--in--\r\n"),
            (inner + b"\r\nepilogue\r\n", b"--in\r\n\r\none\r\n--in--\r\nepilogue"),
            (inner[:-2] + b"\r\n", b"--in\r\n\r\none\r\n--in\r\n"),
            (inner[:-6] + b"\r\n", b"--in\r\n\r\none\r\n"),
            (message + inner + b"\r\n", inner + b"\r\n"),
            (message + message + inner + b"\r\n", message + inner + b"\r\n"),
            (message + b"Subject: x\r\n\r\n", b"Subject: x\r\n\r\n"),
            (message + b"Subject: x\r\n", b"Subject: x"),
            (message + b"\r\n", b"\r\n"),
            (message + b"\r\ntext\r\n", b"\r\ntext"),
            (b"Content-Type: text/html\r\n\r\n", b""),
        )
        for part, body in table:
            data = _MULTIPART % b"out" + b"--out\r\n" + part + b"--out--\r\n"
            self.assertEqual(_bodies(data), [body], part)
            child = parse(data).root.children[0]
            if child.kind is Kind.MESSAGE:
                self.assertEqual(child.lines, body.count(b"\n"), part)


class SectionTests(SynchronousTestCase):
    """BODY[...] of the example in RFC 9051 section 6.4.5.1."""

    # Parts 1, 2, 3 (a message with parts 3.1 and 3.2) and 4 (4.1 a GIF, 4.2
    # a message with the parts 4.2.1 and 4.2.2, which is 4.2.2.1 and 4.2.2.2).
    data = (
        b"Subject: top\r\n" + _MULTIPART % b"top"
        + b"--top\r\nContent-Type: text/plain\r\n\r\n1\r\n"
        + b"--top\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: Base64\r\n\r\nMg==\r\n"
        + b"--top\r\nContent-Type: message/rfc822\r\n\r\nSubject: 3\r\n" + _MULTIPART % b"three"
        + b"--three\r\n\r\n3.1\r\n--three\r\nContent-Type: application/x\r\n\r\n3.2\r\n--three--\r\n"
        + b"--top\r\n" + _MULTIPART % b"four"
        + b"--four\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: x-odd\r\n\r\n4.1\r\n"
        + b"--four\r\nContent-Type: message/rfc822\r\n\r\nSubject: 4.2\r\n" + _MULTIPART % b"5"
        + b"--5\r\n\r\n4.2.1\r\n--5\r\n" + _MULTIPART % b"6"
        + b"--6\r\n\r\n4.2.2.1\r\n--6\r\n\r\n4.2.2.2\r\n--6--\r\n--5--\r\n--four--\r\n--top--\r\n"
    )  # fmt: skip

    def setUp(self) -> None:
        self.item = summarise(self.data).items[3]

    def _get(self, part: tuple[int, ...], what: SectionText) -> bytes | None:
        found = locate(self.item, part, what)
        return None if found is None else self.data[found[0] : found[0] + found[1]]

    def test_parts(self) -> None:
        """Part numbers lead to bodies, through embedded messages and multiparts."""
        for part, text in (
            ((1,), b"1"), ((2,), b"Mg=="), ((3, 1), b"3.1"), ((3, 2), b"3.2"), ((4, 1), b"4.1"), ((4, 2, 1), b"4.2.1"),
            ((4, 2, 2, 1), b"4.2.2.1"), ((4, 2, 2, 2), b"4.2.2.2"),
        ):  # fmt: skip
            self.assertEqual(self._get(part, SectionText.WHOLE), text)

    def test_absent(self) -> None:
        """What is not there is None."""
        for part in ((0,), (5,), (1, 1), (3, 3), (3, 1, 1), (4, 2, 2, 3), (4, 2, 2, 1, 1)):
            for what in SectionText:
                self.assertIsNone(self._get(part, what))
        for part in ((1,), (4,), (3, 1), (4, 2, 2)):
            self.assertIsNone(self._get(part, SectionText.HEADER))
            self.assertIsNone(self._get(part, SectionText.TEXT))
        self.assertIsNone(self._get((), SectionText.MIME))

    def test_texts(self) -> None:
        """HEADER, TEXT and MIME of the message, of parts, of embedded messages."""
        self.assertEqual(self._get((), SectionText.WHOLE), self.data)
        self.assertEqual(self._get((), SectionText.HEADER), b"Subject: top\r\n" + _MULTIPART % b"top")
        text = self._get((), SectionText.TEXT)
        assert text is not None
        self.assertTrue(text.startswith(b"--top\r\n") and text.endswith(b"--top--\r\n"))
        self.assertEqual(self._get((3,), SectionText.HEADER), b"Subject: 3\r\n" + _MULTIPART % b"three")
        self.assertEqual(self._get((3,), SectionText.MIME), b"Content-Type: message/rfc822\r\n\r\n")
        whole = (self._get((3,), SectionText.HEADER) or b"") + (self._get((3,), SectionText.TEXT) or b"")
        self.assertEqual(self._get((3,), SectionText.WHOLE), whole)
        self.assertEqual(self._get((3, 1), SectionText.MIME), b"\r\n")
        self.assertEqual(self._get((4, 2), SectionText.HEADER), b"Subject: 4.2\r\n" + _MULTIPART % b"5")
        self.assertEqual(self._get((4,), SectionText.MIME), _MULTIPART % b"four")

    def test_single(self) -> None:
        """A message that is not multipart has the part 1: its body (RFC 9051 section 6.4.5.1)."""
        self.data = b"Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nbody\r\n"
        self.item = summarise(self.data).items[3]
        self.assertEqual(self._get((1,), SectionText.WHOLE), b"body\r\n")
        self.assertEqual(self._get((1,), SectionText.MIME), self.data[: self.data.index(b"body")])
        self.assertIsNone(self._get((1,), SectionText.HEADER))
        self.assertIsNone(self._get((1, 1), SectionText.WHOLE))
        self.assertIsNone(self._get((2,), SectionText.WHOLE))
        self.assertEqual(part_encoding(self.item, (1,)), b"QUOTED-PRINTABLE")

    def test_message_as_message(self) -> None:
        """A message whose only part is an embedded message that is not multipart."""
        self.data = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody"
        self.item = summarise(self.data).items[3]
        self.assertEqual(self._get((1,), SectionText.WHOLE), b"Subject: in\r\n\r\nbody")
        self.assertEqual(self._get((1,), SectionText.HEADER), b"Subject: in\r\n\r\n")
        self.assertEqual(self._get((1,), SectionText.TEXT), b"body")
        self.assertEqual(self._get((1, 1), SectionText.WHOLE), b"body")
        self.assertEqual(self._get((1, 1), SectionText.MIME), b"Subject: in\r\n\r\n")

    def test_encoding(self) -> None:
        """RFC 3516 needs to know the encoding, or that it is unknown."""
        table = (((), b"7BIT"), ((1,), b"7BIT"), ((2,), b"BASE64"), ((4, 1), b"UNKNOWN"), ((9,), None))
        for part, encoding in table:
            self.assertEqual(part_encoding(self.item, part), encoding)

    def test_damaged_item(self) -> None:
        """Octets that are no such item have no sections."""
        for item in (b"", b"\x02", b"\x01abc", self.item[:30]):
            self.assertEqual(sections(item), [])
            self.assertIsNone(locate(item, (1, 1), SectionText.WHOLE))


class AbuseTests(SynchronousTestCase):
    """Messages made to cost more than their size."""

    def _items(self, data: bytes) -> int:
        """Octets of what is kept, which must stay within a small multiple of the message."""
        return sum(map(len, summarise(data).items))

    def test_many_parts(self) -> None:
        """Parts beyond the limit are the text of the last one."""
        data = _MULTIPART % b"a" + b"--a\r\n\r\n\r\n" * 100_000
        root = parse(data).root
        self.assertEqual(len(root.children), _LIMITS.parts - 1)
        last = root.children[-1]
        self.assertEqual((last.kind, last.end), (Kind.SINGLE, len(data)))
        self.assertLess(self._items(data), 2 * len(data))

    def test_deep(self) -> None:
        """Nesting beyond the limit is text, be it multiparts or messages."""
        multiparts = [_MULTIPART % (b"%d" % n) + b"--%d\r\n" % n for n in range(10_000)]
        messages = [b"Content-Type: message/rfc822\r\n\r\n"] * 10_000
        for levels in (multiparts, messages):
            self.assertEqual(len(_parts(parse(b"".join(levels[:1_000])).root)), _LIMITS.depth + 1)
            data = b"".join(levels)
            parts = _parts(parse(data).root)
            self.assertLessEqual(len(parts), _LIMITS.depth + 1)
            self.assertEqual(parts[-1].media_type, b"TEXT")
            self.assertEqual(parts[-1].end, len(data))
            self.assertLess(self._items(data), 2 * len(data))

    def test_deep_and_large(self) -> None:
        """Not every level may look at all octets once more: the deepest become text."""
        start = b"".join(_MULTIPART % (b"%d" % n) + b"--%d\r\n" % n for n in range(100))
        parts = _parts(parse(start + b"x" * 1_000_000).root)
        self.assertLess(len(parts), _LIMITS.scan_factor + 12)

    def test_many_lookalikes(self) -> None:
        """After very many lines that begin like a boundary, the rest is text."""
        data = _MULTIPART % b"a" + b"--a\r\n\r\n" + b"--ab\r\n" * 100_000 + b"--a\r\n\r\ntwo\r\n--a--\r\n"
        (only,) = parse(data).root.children
        self.assertEqual(only.end, len(data))

    def test_large_header(self) -> None:
        """A header of 50 MB: its beginning counts."""
        line = b"X-Filler: " + b"x" * 990 + b"\r\n"
        data = b"Subject: first\r\n" + line * 50_000 + b"To: late@example.com\r\n\r\nbody"
        summary = summarise(data)
        self.assertEqual(summary.items[0], b'(NIL "first" NIL NIL NIL NIL NIL NIL NIL NIL)')
        found = locate(summary.items[3], (), SectionText.TEXT)
        self.assertEqual(found, (len(data) - 4, 4))
        # HEADER.FIELDS must still find what comes late.
        self.assertEqual(summary.items[4], b"\0")
        self.assertEqual(summarise(b"A: b\r\n" * 10_000 + b"To: x\r\n\r\n").items[4], b"\0")

    def test_many_addresses(self) -> None:
        """Addresses beyond the limit are left out, for all fields together."""
        for address in (b"a@b,", b"a,", b"<a@b>,", b'"x" <a@b>,', b"g:;,", b"(c)a,"):
            data = b"To: " + address * 100_000 + b"\r\nCc: " + address * 100_000 + b"\r\n\r\n"
            envelope = summarise(data).items[0]
            self.assertLess(envelope.count(b"(") - 4, 2 * _LIMITS.addresses + 10)

    def test_many_parameters(self) -> None:
        """RFC 2231 pieces by the thousand."""
        value = b"".join(b";\r\n name*%d=x" % n for n in range(20_000))
        data = b"Content-Type: text/plain" + value + b"\r\nContent-Disposition: inline" + value + b"\r\n\r\n"
        structure = summarise(data).items[1]
        self.assertLessEqual(structure.count(b'"NAME*'), 2 * _LIMITS.parameters)

    def test_large_cached_fields(self) -> None:
        """Too large a header is not cached, but marked."""
        data = b"References: " + b"<a@b>\r\n " * 20_000 + b"\r\n\r\n"
        self.assertEqual(summarise(data).items[4], b"\0")

    def test_hostile_runs(self) -> None:
        """Runs on which backtracking would not end."""
        for start, piece in (
            (b"From: ", b'"'), (b"From: ", b"("), (b"From: ", b"\\"), (b"From: ", b"<"), (b"From: ", b"@"),
            (b"From: ", b" "), (b"From: ", b"a "), (b"From: ", b"<@a,"), (b"From: ", b'"a" '), (b"From: ", b"["),
            (b"Content-Type: ", b"("), (b"Content-Type: text/plain", b"; "), (b"Content-Type: text/plain", b';a="'),
            (b"Content-Type: text/plain;", b"a"), (b"Content-Type: text/plain;a=", b" "), (b"Subject: ", b"=?"),
            (b"Subject: ", b"=?a?q?"), (b"Subject: =?utf-8?q?", b"="), (b"Subject: ", b"=?a?b?=?= "), (b"Date: ", b"1"),
            (b"Date: ", b" "), (b"Date: Mon", b","), (b"Content-Disposition: ", b";"), (b"Content-Language: ", b","),
            (b"Content-Type: text/html\r\n\r\n", b"<!--"), (b"Content-Type: text/html\r\n\r\n", b"<"),
            (b"Content-Type: text/html\r\n\r\n", b"&"), (b"Content-Type: text/html\r\n\r\n", b"<style>"),
            (b"\r\n", b">"), (b"\r\n", b"\xff"), (b"", b":"), (b"", b"\r\n "), (b"", b"a:\r\n"), (b"", b"\n"),
            (_MULTIPART % b"a", b"\n--a"), (_MULTIPART % b"a", b"--ab\r\n"), (_MULTIPART % (b"a" * 500), b"a"),
        ):  # fmt: skip
            self.assertLess(self._items(start + piece * 100_000), 40 * len(piece) * 100_000 + 100_000)
