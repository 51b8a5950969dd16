"""ENVELOPE, BODY and BODYSTRUCTURE, octet by octet."""

from __future__ import annotations

from email.headerregistry import Address as StandardAddress
from email.utils import getaddresses

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime.address import GROUP_END, Address, parse_addresses
from pycyrus.mime.strings import nstring, string
from pycyrus.mime.summary import summarise
from pycyrus.model.view import CachedItem
from pycyrus.testing.messages import generate


def _item(data: bytes, item: CachedItem) -> bytes:
    return summarise(data).items[item]


class EnvelopeTests(SynchronousTestCase):
    """RFC 9051 section 7.5.2."""

    def test_example(self) -> None:
        """The envelope that the RFC shows."""
        data = (
            b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
            b"From: Terry Gray <gray@cac.washington.edu>\r\n"
            b"Subject: IMAP4rev2 WG mtg summary and minutes\r\n"
            b"To: imap@cac.washington.edu\r\n"
            b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
            b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
            b"MIME-Version: 1.0\r\n"
            b"Content-Type: TEXT/PLAIN; CHARSET=UTF-8\r\n\r\n"
        )
        self.assertEqual(
            _item(data, CachedItem.ENVELOPE),
            b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" '
            b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
            b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
            b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
            b'"<B27397-0100000@cac.washington.edu>")',
        )

    def test_absent_and_empty(self) -> None:
        """Absent strings are NIL, empty ones empty; addresses are NIL either way."""
        self.assertEqual(_item(b"", CachedItem.ENVELOPE), b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")
        empty = b"".join(
            name + b":\r\n"
            for name in (b"Date", b"Subject", b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc", b"In-Reply-To")
        )
        self.assertEqual(
            _item(empty + b"Message-ID: \r\n\r\n", CachedItem.ENVELOPE), b'("" "" NIL NIL NIL NIL NIL NIL "" "")'
        )

    def test_own_sender(self) -> None:
        """Sender and Reply-To are told as they are, where they are."""
        data = b"From: a@x\r\nSender: b@x\r\nReply-To: c@x, d@x\r\nBcc: e@x\r\n\r\n"
        self.assertEqual(
            _item(data, CachedItem.ENVELOPE),
            b'(NIL NIL ((NIL NIL "a" "x")) ((NIL NIL "b" "x")) ((NIL NIL "c" "x")(NIL NIL "d" "x")) '
            b'NIL NIL ((NIL NIL "e" "x")) NIL NIL)',
        )

    def test_repeated_fields(self) -> None:
        """Destinations are put together (RFC 5322 section 4.5.3), of others the last counts."""
        data = b"To: a@x\r\nSubject: one\r\nTo:\r\nTo: b@x\r\nSubject: two\r\nDate: a\r\nDate:\r\n\r\n"
        self.assertEqual(
            _item(data, CachedItem.ENVELOPE),
            b'("" "two" NIL NIL NIL ((NIL NIL "a" "x")(NIL NIL "b" "x")) NIL NIL NIL NIL)',
        )

    def test_subjects(self) -> None:
        """Folds are undone, encoded words stay; what cannot be quoted is a literal."""
        for header, told in (
            (b"Subject: a\r\n b\r\n\tc", b'"a b\tc"'),
            (b"SUBJECT :  x  ", b'"x"'),
            (b'Subject: say "hi" \\o/', b'"say \\"hi\\" \\\\o/"'),
            (b"Subject: =?utf-8?q?x?=", b'"=?utf-8?q?x?="'),
            (b"Subject: Gr\xc3\xbc\xc3\x9fe", b"{7}\r\nGr\xc3\xbc\xc3\x9fe"),
            (b"Subject: a\rb", b"{3}\r\na\rb"),
            (b"Subject: a\0b", b'"ab"'),
            (b"Subject: " + b"x" * 1000, b'"' + b"x" * 1000 + b'"'),
            (b"Subject: " + b"x" * 1001, b"{1001}\r\n" + b"x" * 1001),
        ):
            envelope = _item(header + b"\r\n\r\n", CachedItem.ENVELOPE)
            self.assertEqual(envelope, b"(NIL " + told + b" NIL NIL NIL NIL NIL NIL NIL NIL)")


def _a(name: bytes | None, mailbox: bytes, host: bytes, route: bytes | None = None) -> Address:
    return Address(name, route, mailbox, host)


class AddressTests(SynchronousTestCase):
    """RFC 5322 section 3.4, and what is sent instead."""

    def test_table(self) -> None:
        """Address lists and what they mean."""
        ann = _a(b"Ann", b"ann", b"x.org")
        for value, addresses in (
            (b"", []),
            (b",, ,", []),
            (b"<>", []),
            (b"ann@x.org", [_a(None, b"ann", b"x.org")]),
            (b"<ann@x.org>", [_a(None, b"ann", b"x.org")]),
            (b"Ann<ann@x.org>", [ann]),
            (b"Ann  <ann@x.org> ,ann@x.org", [ann, _a(None, b"ann", b"x.org")]),
            (b'"Ann" <ann@x.org>', [ann]),
            (b'"" <ann@x.org>', [_a(None, b"ann", b"x.org")]),
            (b'"B, Ann" <ann@x.org>', [_a(b"B, Ann", b"ann", b"x.org")]),
            (b'"A \\"n\\" \\\\n" <ann@x.org>', [_a(b'A "n" \\n', b"ann", b"x.org")]),
            (b'Ann "N." Other <ann@x.org>', [_a(b"Ann N. Other", b"ann", b"x.org")]),
            (
                b"=?utf-8?q?=C3=A4?= =?utf-8?q?n?= <ann@x.org>",
                [_a(b"=?utf-8?q?=C3=A4?= =?utf-8?q?n?=", b"ann", b"x.org")],
            ),
            (b"ann@x.org (Ann)", [ann]),
            (b"ann@x.org (A (nested) \\) n)", [_a(b"A (nested) ) n", b"ann", b"x.org")]),
            (b"(c) Ann (d) <ann@x.org> (e)", [ann]),
            (b"(c) ann@x.org, (d) <ann@x.org>", [_a(None, b"ann", b"x.org"), _a(None, b"ann", b"x.org")]),
            (b"Ann\tN. \t Other <ann@x.org>", [_a(b"Ann N. Other", b"ann", b"x.org")]),
            (b"ann@x.org <ann@x.org>", [_a(b"ann@x.org", b"ann", b"x.org")]),
            (b"ann . b @ x . org", [_a(None, b"ann.b", b"x.org")]),
            (b'"ann b"@x.org', [_a(None, b"ann b", b"x.org")]),
            (b"ann@[192.0.2.1]", [_a(None, b"ann", b"[192.0.2.1]")]),
            (b"Ann <ann@[IPv6:::1]>", [_a(b"Ann", b"ann", b"[IPv6:::1]")]),
            (b"Ann <@a,@b:ann@x.org>", [_a(b"Ann", b"ann", b"x.org", b"@a,@b")]),
            (b"ann", [_a(None, b"ann", b"unspecified-domain")]),
            (b"Ann <ann>, x@y", [_a(b"Ann", b"ann", b"unspecified-domain"), _a(None, b"x", b"y")]),
            (b"Ann <>", [_a(b"Ann", b"", b"unspecified-domain")]),
            (b"Ann <ann@x.org, b@x.org", [ann, _a(None, b"b", b"x.org")]),
            (b"Ann <ann@x.org>>, b@x.org", [ann, _a(None, b"b", b"x.org")]),
            (b"Ann <ann@x.org> junk, b@x.org", [ann, _a(None, b"b", b"x.org")]),
            (b'"unclosed <ann@x.org>', [_a(None, b"unclosed <ann@x.org>", b"unspecified-domain")]),
            (b"ann@x.org (unclosed \\", [_a(b"unclosed \\", b"ann", b"x.org")]),
            (b"G: a@x, b@x;", [Address(None, None, b"G", None), _a(None, b"a", b"x"), _a(None, b"b", b"x"), GROUP_END]),
            (b"G:;, a@x", [Address(None, None, b"G", None), GROUP_END, _a(None, b"a", b"x")]),
            (b"undisclosed-recipients: ;", [Address(None, None, b"undisclosed-recipients", None), GROUP_END]),
            (b'"A, B": a@x', [Address(None, None, b"A, B", None), _a(None, b"a", b"x"), GROUP_END]),
            (b"a@x; b@x", [_a(None, b"a", b"x"), _a(None, b"b", b"x")]),
            (b"\xc3\xa4 <\xc3\xa4@x>", [_a(b"\xc3\xa4", b"\xc3\xa4", b"x")]),
        ):
            self.assertEqual(parse_addresses(value, 100), addresses, value)

    def test_realistic(self) -> None:
        """Names and addresses are those that the standard library finds."""
        for data in generate(150, 9):
            for line in data.partition(b"\r\n\r\n")[0].replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ").split(b"\r\n"):
                name, _, value = line.partition(b": ")
                if name in (b"From", b"To", b"Cc"):
                    expected = getaddresses([value.decode("ascii")])
                    found = [
                        ((address.name or b"").decode(), _text(address)) for address in parse_addresses(value, 1000)
                    ]
                    self.assertEqual(found, expected)

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(
                st.text("abc .,;:<>@()\"\\'", max_size=12).map(str.strip),
                st.text('ab.("\\ ', min_size=1, max_size=8),
                st.sampled_from(["x.org", "mail.example.com"]),
            ),
            max_size=5,
        )
    )
    def test_generated(self, triples: list[tuple[str, str, str]]) -> None:
        """What the standard library writes is read as it was meant."""
        value = ", ".join(
            str(StandardAddress(display_name=name, username=local, domain=domain)) for name, local, domain in triples
        )
        found = [(a.name or b"", a.mailbox, a.host) for a in parse_addresses(value.encode(), 100)]
        self.assertEqual(found, [(n.encode(), u.encode(), d.encode()) for n, u, d in triples])


def _text(address: Address) -> str:
    return f"{(address.mailbox or b'').decode()}@{(address.host or b'').decode()}"


_PLAIN = b'"TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT"'


class BodyTests(SynchronousTestCase):
    """RFC 9051 section 7.5.2."""

    def _check(self, data: bytes, body: bytes, structure: bytes) -> None:
        self.assertEqual(_item(data, CachedItem.BODY), body)
        self.assertEqual(_item(data, CachedItem.BODYSTRUCTURE), structure)

    def test_default(self) -> None:
        """A message that says nothing of its type is ASCII text (RFC 2045 section 5.2)."""
        self._check(
            b"Subject: x\r\n\r\none\r\ntwo\r\n",
            b"(" + _PLAIN + b" 10 2)",
            b"(" + _PLAIN + b" 10 2 NIL NIL NIL NIL)",
        )

    def test_two_texts(self) -> None:
        """The two-part message in the RFC's manner: a text and an encoded attachment that is text."""
        data = (
            b'Content-Type: multipart/mixed; boundary="cut"\r\n\r\n--cut\r\n'
            b"Content-Type: TEXT/PLAIN; CHARSET=us-ascii\r\n\r\nhello\r\n\r\n--cut\r\n"
            b'Content-Type: TEXT/PLAIN; CHARSET=us-ascii; NAME="cc.diff"\r\n'
            b"Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n"
            b"Content-Transfer-Encoding: BASE64\r\n\r\nAAAA\r\n--cut--\r\n"
        )
        first = _PLAIN + b" 7 1"
        second = (
            b'"TEXT" "PLAIN" ("CHARSET" "us-ascii" "NAME" "cc.diff") '
            b'"<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 4 0'
        )
        self._check(
            data,
            b"((" + first + b")(" + second + b') "MIXED")',
            b"(("
            + first
            + b" NIL NIL NIL NIL)("
            + second
            + b' NIL NIL NIL NIL) "MIXED" ("BOUNDARY" "cut") NIL NIL NIL)',
        )

    def test_extension(self) -> None:
        """MD5, disposition, language and location."""
        data = (
            b"Content-Type: image/png\r\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n"
            b'Content-Disposition: attachment; filename="a b.png"; size=3\r\n'
            b"Content-Language: en (English), de\r\nContent-Location: http://example.com/x\r\n"
            b"Content-Transfer-Encoding: Base64 (c)\r\n\r\nAAAA"
        )
        start = b'"IMAGE" "PNG" NIL NIL NIL "BASE64" 4'
        self._check(
            data,
            b"(" + start + b")",
            b"(" + start + b' "Q2hlY2sgSW50ZWdyaXR5IQ==" ("ATTACHMENT" ("FILENAME" "a b.png" "SIZE" "3")) '
            b'("en" "de") "http://example.com/x")',
        )

    def test_embedded(self) -> None:
        """An embedded message has its envelope, its structure and its lines."""
        inner = b"Subject: in\r\nFrom: a@b\r\n\r\nhi\r\n"
        for media_type, subtype in ((b"message/rfc822", b"RFC822"), (b"message/global", b"GLOBAL")):
            start = b'"MESSAGE" "%b" NIL NIL NIL "7BIT" %d ' % (subtype, len(inner))
            address = b'((NIL NIL "a" "b"))'
            start += b'(NIL "in" %b %b %b NIL NIL NIL NIL NIL) ' % (address, address, address)
            self._check(
                b"Content-Type: " + media_type + b"\r\n\r\n" + inner,
                b"(" + start + b"(" + _PLAIN + b" 4 1) 4)",
                b"(" + start + b"(" + _PLAIN + b" 4 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)",
            )

    def test_digest(self) -> None:
        """Parts of a digest are messages unless they say otherwise (RFC 2046 section 5.1.5)."""
        data = (
            b"Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: 1\r\n\r\none\r\n"
            b"--d\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--d--\r\n"
        )
        self.assertEqual(
            _item(data, CachedItem.BODY),
            b'(("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 17 (NIL "1" NIL NIL NIL NIL NIL NIL NIL NIL) ('
            + _PLAIN
            + b" 3 0) 2)("
            + _PLAIN
            + b' 3 0) "DIGEST")',
        )

    def test_content_types(self) -> None:
        """Content-Type as it is found, and what is told of it."""
        ascii_text = b'"TEXT" "PLAIN" ("CHARSET" "us-ascii")'
        for value, told in (
            (b"text/plain", ascii_text),
            (b"TEXT/plain; Charset=x", b'"TEXT" "PLAIN" ("CHARSET" "x")'),
            (b"text/plain; format=flowed", b'"TEXT" "PLAIN" ("CHARSET" "us-ascii" "FORMAT" "flowed")'),
            (b"text/html", b'"TEXT" "HTML" NIL'),
            (b"text", ascii_text),
            (b"/", ascii_text),
            (b"", ascii_text),
            (b"multipart", ascii_text),
            (b"text / html", b'"TEXT" "HTML" NIL'),
            (b"(a) text/(b)html (c); (d) x=(e)y", b'"TEXT" "HTML" ("X" "y")'),
            (b'text/html; x="(not a comment)"', b'"TEXT" "HTML" ("X" "(not a comment)")'),
            (b'text/html; x="a\\"b;c"; y=z', b'"TEXT" "HTML" ("X" "a\\"b;c" "Y" "z")'),
            (b"text/html; name=My File.html; y=z", b'"TEXT" "HTML" ("NAME" "My File.html" "Y" "z")'),
            (b'text/html; x="unclosed', b'"TEXT" "HTML" ("X" "unclosed")'),
            (b"text/html; ; =x; y; z=", b'"TEXT" "HTML" ("Z" "")'),
            (b"text/html; x*0*=utf-8''%C3%A4; x*1=b", b'"TEXT" "HTML" ("X*" "utf-8\'\'%C3%A4b")'),
            (b"text/html; y=1; x*0=a; z=2; X*1=b", b'"TEXT" "HTML" ("Y" "1" "X" "ab" "Z" "2")'),
            (b"text/html; x*1=b; x*0=a; x*3=d", b'"TEXT" "HTML" ("X" "ab" "X*3" "d")'),
            (
                b"text/html; x*1=b; x*2=c; x*00=a; x*=d; *0=e",
                b'"TEXT" "HTML" ("X*1" "b" "X*2" "c" "X*00" "a" "X*" "d" "*0" "e")',
            ),
            (b'text/html; x*0*="utf-8\'\'a%20"; x*1="b c"', b'"TEXT" "HTML" ("X*" "utf-8\'\'a%20b%20c")'),
            (b"text/html; x*0=a; x*1*=%20b", b'"TEXT" "HTML" ("X*" "\'\'a%20b")'),
            (b"text/html; x=\xc3\xa4", b'"TEXT" "HTML" ("X" {2}\r\n\xc3\xa4)'),
            (b"text/html;\r\n\tx=1", b'"TEXT" "HTML" ("X" "1")'),
        ):
            body = _item(b"Content-Type: " + value + b"\r\n\r\n", CachedItem.BODY)
            self.assertEqual(body, b"(" + told + b' NIL NIL "7BIT" 0 0)', value)

    def test_dispositions(self) -> None:
        """Content-Disposition likewise (RFC 2183)."""
        for value, told in (
            (b"inline", b'("INLINE" NIL)'),
            (b"", b"NIL"),
            (b'; filename="x"', b"NIL"),
            (b"attachment; filename*=utf-8''a%20b", b'("ATTACHMENT" ("FILENAME*" "utf-8\'\'a%20b"))'),
            (b"attachment; filename*0=a; filename*1=b", b'("ATTACHMENT" ("FILENAME" "ab"))'),
            (b'attachment; filename="a"; filename="b"', b'("ATTACHMENT" ("FILENAME" "a" "FILENAME" "b"))'),
        ):
            structure = _item(b"Content-Disposition: " + value + b"\r\n\r\n", CachedItem.BODYSTRUCTURE)
            self.assertEqual(structure, b"(" + _PLAIN + b" 0 0 NIL " + told + b" NIL NIL)", value)

    def test_rfc2231_boundary(self) -> None:
        """A boundary in pieces is put together (RFC 2231 section 3)."""
        data = b"Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\n\r\nx\r\n--ab--\r\n"
        self.assertEqual(_item(data, CachedItem.BODY), b"((" + _PLAIN + b' 1 0) "MIXED")')


class StringTests(SynchronousTestCase):
    """RFC 9051 section 4.3."""

    def test_forms(self) -> None:
        """Quoted where that can be, else a literal; NIL for nothing."""
        for value, told in (
            (b"", b'""'), (b"a b", b'"a b"'), (b'"', b'"\\""'), (b"\\", b'"\\\\"'), (b"\x7f\t\x01", b'"\x7f\t\x01"'),
            (b"\r", b"{1}\r\n\r"), (b"\n", b"{1}\r\n\n"), (b"\x80", b"{1}\r\n\x80"), (b"a\0", b"{1}\r\na"),
        ):  # fmt: skip
            self.assertEqual(string(value), told)
        self.assertEqual(nstring(None), b"NIL")
