"""Text out of bodies: transfer encodings, charsets, previews, what a search looks at."""

from __future__ import annotations

import base64
import binascii
import quopri

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime.charsets import decode_charset, find_codec, incremental_decoder
from pycyrus.mime.comparison import Comparison, fold
from pycyrus.mime.preview import PREVIEW_LENGTH
from pycyrus.mime.summary import summarise
from pycyrus.mime.text import searchable, searchable_header
from pycyrus.mime.transfer import UnknownEncoding, decode
from pycyrus.model.view import CachedItem
from pycyrus.testing.messages import generate

_QUICK = settings(max_examples=150, deadline=None, database=None)


class TransferTests(SynchronousTestCase):
    """RFC 2045 section 6."""

    def test_identity(self) -> None:
        """7bit, 8bit and binary are as they are."""
        for name in (b"", b"7BIT", b"8BIT", b"BINARY"):
            self.assertEqual(decode(b"=20\0\xff", name), b"=20\0\xff")

    @_QUICK
    @given(st.binary(max_size=200), st.integers(1, 90))
    def test_base64(self, data: bytes, width: int) -> None:
        """Whatever was encoded, cut into lines of any width."""
        letters = base64.b64encode(data)
        lines = b"\r\n".join(letters[start : start + width] for start in range(0, len(letters), width))
        self.assertEqual(decode(lines, b"BASE64"), data)

    def test_base64_broken(self) -> None:
        """Torn, with other octets in it, with padding in the middle."""
        for data, decoded in (
            (b"YWJj", b"abc"), (b"YWJ", b"ab"), (b"YW", b"a"), (b"Y", b""), (b"", b""), (b"=", b""),
            (b"Y\xffW.J!j", b"abc"),
            (b"YQ==YmM=", b"abc"), (b"YWJj\r\n-- footer", b"abc" + base64.b64decode("footer==")),
        ):  # fmt: skip
            self.assertEqual(decode(data, b"BASE64"), decoded, data)

    @_QUICK
    @given(st.binary(max_size=200))
    def test_quoted_printable(self, data: bytes) -> None:
        """Whatever was encoded."""
        text = data.replace(b"\r", b"").replace(b"\n", b"\r\n")
        self.assertEqual(
            decode(quopri.encodestring(text.replace(b"\r", b"")), b"QUOTED-PRINTABLE").replace(b"\r", b""),
            data.replace(b"\r", b""),
        )

    def test_uuencode(self) -> None:
        """The encoding before MIME."""
        lines = b"".join(binascii.b2a_uu(piece) for piece in (b"hello ", b"world"))
        data = b"begin 644 x\r\n" + lines.replace(b"\n", b"\r\n") + b"`\r\nend\r\n"
        self.assertEqual(decode(data, b"X-UUENCODE"), b"hello world")

    @_QUICK
    @given(st.binary(max_size=200))
    def test_garbage(self, data: bytes) -> None:
        """Anything decodes to something not longer."""
        for name in (b"BASE64", b"QUOTED-PRINTABLE", b"X-UUENCODE"):
            self.assertLessEqual(len(decode(data, name)), len(data))
            decode(b"begin \n" + data, name)

    def test_unknown(self) -> None:
        """RFC 3516 section 4.3."""
        self.assertRaises(UnknownEncoding, decode, b"", b"X-ODD")


class CharsetTests(SynchronousTestCase):
    """Charset names are only claims."""

    def test_names(self) -> None:
        """Known ones in any spelling; nothing that is no charset."""
        for name, codec in (
            (b"UTF-8", "utf_8"), (b"utf8", "utf_8"), (b"ISO_8859-1:1987", "latin_1"), (b"latin1", "latin_1"),
            (b"windows-1252", "cp1252"), (b"KOI8-R", "koi8_r"), (b"Shift_JIS", "cp932"), (b"GB2312", "gb18030"),
            (b"cp-850", "cp850"), (b"iso-8859-15'en", None), (b"idna", None), (b"punycode", None), (b"zlib", None),
            (b"unicode_escape", None), (b"rot13", None), (b"os", None), (b"../x", None), (b"\xff", None), (b"", None),
            (b"u" * 10_000, None),
        ):  # fmt: skip
            self.assertEqual(find_codec(name), codec, name)

    @_QUICK
    @given(
        st.binary(max_size=60),
        st.sampled_from(
            [b"utf-8", b"utf-7", b"utf-16", b"utf-16le", b"utf-32", b"hz", b"big5", b"euc-jp", b"iso-2022-jp", b"x"]
        ),
        st.integers(0, 60),
    )
    def test_total(self, data: bytes, charset: bytes, cut: int) -> None:
        """Octets that do not fit the claim are no error, at once or in pieces."""
        decode_charset(data, charset)
        decoder = incremental_decoder(charset, data)
        decoder.decode(data[:cut])
        decoder.decode(data[cut:], True)

    def test_byte_order(self) -> None:
        """Two octets each: the mark tells their order, or else the first one counts more (RFC 2781 section 4.3)."""
        for data in (b"\0a", b"\xfe\xff\0a", b"\xff\xfea\0"):
            self.assertEqual(decode_charset(data, b"utf-16"), "a")
        for charset in (b"utf-16", b"utf-32"):
            for data in (b"\xff\xfe\x01\x02", b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"\xff"):
                incremental_decoder(charset, data).decode(data, True)


def _preview(data: bytes) -> str:
    return summarise(data).items[CachedItem.PREVIEW].decode()


class PreviewTests(SynchronousTestCase):
    """RFC 8970 section 3."""

    def test_texts(self) -> None:
        """White space is one space, what is quoted is left out, the length is bounded."""
        for body, preview in (
            ("Hello,\r\n\r\n\tworld.\r\n", "Hello, world."),
            ("> old\r\nnew\r\n> old", "new"),
            ("> only quoted\r\n", "> only quoted"),
            ("", ""),
            ("a\u200b\u200cb\x07c", "ab c"),
            ("word " * 100, ("word " * 40).strip()),
            ("ä" * 500, "ä" * PREVIEW_LENGTH),
            (" " * 5_000 + "late", "late"),
        ):
            data = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body.encode()
            self.assertEqual(_preview(data), preview, body)

    def test_html(self) -> None:
        """Markup, styles, scripts and comments are not text; references are."""
        for markup, preview in (
            ("<p>Hello <b>wor</b>ld&nbsp;&amp; all</p><p>two", "Hello world & all two"),
            ("<html><head><title>t</title><style>p { }</style></head><body>x<script>1 < 2</script>y", "xy"),
            ("<!-- <p>no</p> -->yes", "yes"),
            ("<!DOCTYPE html><?xml?>a < b", "a < b"),
            ("a<br>b<BR/>c", "a b c"),
            ("<!-- open", ""),
            ("<style>open", ""),
            ("x<p", "x"),
        ):
            self.assertEqual(_preview(b"Content-Type: text/html\r\n\r\n" + markup.encode()), preview, markup)

    def test_encoded(self) -> None:
        """Encodings and charsets are undone, also where they are cut."""
        text = "Grüße aus 東京. " * 200
        expected = text[:PREVIEW_LENGTH].strip()
        for encoding, body in (
            ("base64", base64.encodebytes(text.encode())),
            ("quoted-printable", quopri.encodestring(text.encode())),
            ("8bit", text.encode()),
        ):
            header = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
            self.assertEqual(_preview(header.encode() + body), expected, encoding)
        odd = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-odd\r\n\r\ntext"
        self.assertEqual(_preview(odd), "")

    def test_choice(self) -> None:
        """Plain text before HTML, never an attachment, HTML where the plain text is empty."""
        start = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
        rich = b"Content-Type: text/html\r\n\r\n<b>rich</b>\r\n--a\r\n"
        attached = b"Content-Disposition: attachment\r\n\r\nattached\r\n--a\r\n"
        self.assertEqual(_preview(start + attached + rich + b"\r\nplain\r\n--a--"), "plain")
        self.assertEqual(_preview(start + attached + rich + b"\r\n\r\n--a--"), "rich")
        self.assertEqual(_preview(start + attached), "")

    def test_realistic(self) -> None:
        """Every message with text has one, of bounded length and on one line."""
        for data in generate(150, 2):
            preview = _preview(data)
            self.assertTrue(0 < len(preview) <= PREVIEW_LENGTH)
            self.assertNotIn("<", preview)
            self.assertEqual(preview, " ".join(preview.split()))


class FoldTests(SynchronousTestCase):
    """How strings are compared."""

    def test_fold(self) -> None:
        """Without regard to case, to composition and to the length of white space."""
        for left, right in (
            ("ABC", "abc"), ("GRÜSSE", "grüße"), ("a\u0308", "Ä"), ("Ω", "ω"), ("a \r\n b", "a b"), ("ΣΑΣ", "σας"),
        ):  # fmt: skip
            self.assertEqual(fold(left), fold(right))
        self.assertEqual((fold(" a "), fold("\t"), fold("")), (" a ", " ", ""))

    def test_many_marks(self) -> None:
        """Any number of combining marks costs no more than other text."""
        self.assertEqual(len(fold("a" + "\u0301\u0323" * 200_000)), 400_000)
        self.assertEqual(fold("a\u0308 " * 1_000), "ä " * 1_000)

    def test_header(self) -> None:
        """Search forms are decoded."""
        items = summarise(
            b"From: =?utf-8?q?J=C3=B6rg?= <J@X>\r\nTo: A@B,\r\n\tC@D\r\n"
            b"Subject: =?utf-8?q?GR=C3=9C=C3=9FE?=\r\n an\r\n\r\n"
        ).items
        self.assertEqual(items[CachedItem.FROM].decode(), "jörg <j@x>")
        self.assertEqual(items[CachedItem.TO], b"a@b, c@d")
        self.assertEqual(items[CachedItem.SUBJECT].decode(), "grüsse an")
        self.assertEqual(items[CachedItem.CC], b"")

    def test_whole_header(self) -> None:
        """All fields, with their names."""
        text = searchable_header(b"X-One: =?utf-8?q?=C3=84?=\r\n b\r\nTwo: c\r\n\r\n")
        self.assertIn("x-one: a b two: c", text)


class SearchableTests(SynchronousTestCase):
    """What BODY looks at (RFC 9051 section 6.4.4)."""

    def _contains(self, data: bytes, text: str) -> bool:
        needle = Comparison().fold(text)
        return any(needle in piece for piece in searchable(data, summarise(data).items[CachedItem.SECTIONS], needle))

    def test_parts(self) -> None:
        """Decoded text parts and the headers of parts, not attachments and not the message's own header."""
        data = (
            b"Subject: own\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n--a\r\n"
            b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            b"Gr=FC=DFe, long=\r\nword, two\r\nlines\r\n--a\r\n"
            b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.b64encode(b"<p class='style'>ha<b>lf</b> &uuml;ber</p>")
            + b'\r\n--a\r\nContent-Type: application/x; name="=?utf-8?q?B=C3=A4r.bin?="\r\n\r\nattached\r\n--a\r\n'
            b"Content-Disposition: attachment;\r\n filename*0*=utf-8''%C3%96l%20und;\r\n filename*1=.gas\r\n\r\n--a\r\n"
            b"Content-Disposition: attachment;\r\n filename*0=in-pie;\r\n filename*1=ces.txt\r\n\r\n--a\r\n"
            b"Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inner=20subject?=\r\n\r\ninner body\r\n--a--\r\n"
        )
        for text in (
            "grüße",
            "GRÜSSE",
            "longword",
            "two lines",
            "half",
            "über",
            "inner subject",
            "INNER BODY",
            "style",
            "application/x",
            "bär.bin",
            "öl und.gas",
            "in-pieces.txt",
            "base64",
        ):
            self.assertTrue(self._contains(data, text), text)
        for text in ("own", "attached", "preamble", "boundary", "nothing"):
            self.assertFalse(self._contains(data, text), text)

    @settings(max_examples=20, deadline=None, database=None)
    @given(st.integers(0, 300_000), st.sampled_from(["base64", "quoted-printable", "8bit"]))
    def test_pieces(self, place: int, encoding: str) -> None:
        """A string is found wherever pieces of a long text are cut."""
        text = ("é filler line\r\n" * 20_000)[:place] + "Nädel im Heu" + "\r\nfiller" * 1_000
        body = text.encode()
        if encoding == "base64":
            body = base64.encodebytes(body)
        elif encoding == "quoted-printable":
            body = quopri.encodestring(body)
        header = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        data = header.encode() + body
        self.assertTrue(self._contains(data, "nädel im heu"))
        self.assertFalse(self._contains(data, "nädel im stroh"))

    def test_bounded(self) -> None:
        """However large the message, pieces are small."""
        data = b"Content-Transfer-Encoding: base64\r\n\r\n" + b"YWJj" * 1_000_000
        item = summarise(data).items[CachedItem.SECTIONS]
        self.assertLess(max(len(piece) for piece in searchable(data, item, "x")), 200_000)

    def test_damaged_sections(self) -> None:
        """Without a usable item the message is taken apart again."""
        self.assertIn("text", "".join(searchable(b"\r\ntext", b"", "text")))

    @_QUICK
    @given(st.binary(max_size=300), st.binary(max_size=60))
    def test_garbage(self, data: bytes, item: bytes) -> None:
        """Neither the message nor the item need make sense."""
        list(searchable(data, summarise(data).items[CachedItem.SECTIONS], "x"))
        list(searchable(data, b"\x01" + item[: len(item) // 20 * 20], "x"))
