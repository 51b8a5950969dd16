"""The grammar of LMTP commands."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.lmtp.wire import (
    NULL_PATH,
    Address,
    Auth,
    BadArguments,
    Lhlo,
    MailFrom,
    RcptTo,
    Reply,
    UnknownParameter,
    parse_auth,
    parse_lhlo,
    parse_mail,
    parse_path,
    parse_rcpt,
    split_verb,
)


class PathTests(SynchronousTestCase):
    GOOD = {
        b"<>": NULL_PATH,
        b"<fred@example.com>": Address("fred", "example.com"),
        b"<fred>": Address("fred"),
        b"<fred+Sent/2024@example.com>": Address("fred+Sent/2024", "example.com"),
        b"<+shared/box@example.com>": Address("+shared/box", "example.com"),
        b'<"fred smith"@example.com>': Address("fred smith", "example.com"),
        b'<"a\\"b\\\\c@d"@example.com>': Address('a"b\\c@d', "example.com"),
        b"<@a.example,@b.example:fred@example.com>": Address("fred", "example.com"),
        b"<fred@[127.0.0.1]>": Address("fred", "[127.0.0.1]"),
        b"<fred@[IPv6:2001:db8::1]>": Address("fred", "[IPv6:2001:db8::1]"),
        b"<a..b.@Example.COM>": Address("a..b.", "Example.COM"),
        b"<fred@>": Address("fred"),
    }
    BAD = [
        b"", b"fred@example.com", b"<fred@example.com", b"<@example.com>", b"<fred@-a->", b"<fr ed@a>",
        b'<"fred@a>', b'<""@a>', b"<fred@a@b>", b"<fred@a..b>", b"<@a:>x", b"<\xc3\xa9@a>", b"<a\0b@c>", b"<a(b)@c>",
        b"<" + b"a" * 2000 + b"@a>", b"<a@" + b"a" * 300 + b">",
    ]  # fmt: skip

    def test_paths(self) -> None:
        for wire, address in self.GOOD.items():
            self.assertEqual(parse_path(wire + b" X"), (address, b" X"), wire)

    def test_what_is_read_is_written(self) -> None:
        for address in self.GOOD.values():
            self.assertEqual(parse_path(f"<{address.encode()}>".encode())[0], address)

    def test_refused(self) -> None:
        for wire in self.BAD:
            with self.assertRaises(BadArguments, msg=wire):
                if parse_path(wire)[1]:
                    raise BadArguments

    def test_8bit_becomes_x_where_that_is_wanted(self) -> None:
        self.assertEqual(parse_path(b"<fr\xe9d@a>", strict=False)[0], Address("frXd", "a"))


class CommandTests(SynchronousTestCase):
    def test_mail(self) -> None:
        for wire, value in {
            b"FROM:<>": MailFrom(NULL_PATH),
            b"from: <a@b> size=12 BODY=8bitmime": MailFrom(Address("a", "b"), 12),
            b"FROM:<a@b> BODY=binarymime": MailFrom(Address("a", "b"), binary=True),
            b"FROM:<a@b> AUTH=<>": MailFrom(Address("a", "b"), None, ""),
            b"FROM:<a@b> AUTH=fred+40example.com": MailFrom(Address("a", "b"), None, "fred@example.com"),
            b"FROM:<a@b> SIZE=99999999999999999999": MailFrom(Address("a", "b"), 99999999999999999999),
        }.items():
            self.assertEqual(parse_mail(wire), value, wire)

    def test_mail_refused(self) -> None:
        for wire in (
            b"", b"FROM", b"FROM:", b"TO:<a@b>", b"FROM:<a@b>SIZE=1", b"FROM:<a@b> SIZE=x", b"FROM:<a@b> SIZE=-1",
            b"FROM:<a@b> SIZE", b"FROM:<a@b> SIZE=1 SIZE=2", b"FROM:<a@b> BODY=9BIT", b"FROM:<a@b> AUTH=a+4",
            b"FROM:<a@b> AUTH=a+00", b"FROM:<a@b> SIZE=111111111111111111111", b"FROM:<a@b> " + b"A=1 " * 20,
            b"FROM:<a@b> ==",
        ):  # fmt: skip
            with self.assertRaises(BadArguments, msg=wire):
                parse_mail(wire)
        with self.assertRaises(UnknownParameter):
            parse_mail(b"FROM:<a@b> FUTURE")

    def test_rcpt(self) -> None:
        self.assertEqual(parse_rcpt(b"TO:<a@b>"), RcptTo(Address("a", "b")))
        self.assertEqual(parse_rcpt(b"to:<a@b> ignorequota"), RcptTo(Address("a", "b"), True))
        for wire in (b"TO:<>", b"TO:a@b", b"TO:<a@b> IGNOREQUOTA=1"):
            self.assertRaises(BadArguments, parse_rcpt, wire)
        self.assertRaises(UnknownParameter, parse_rcpt, b"TO:<a@b> NOTIFY=NEVER")

    def test_others(self) -> None:
        self.assertEqual(parse_lhlo(b"mx.example"), Lhlo("mx.example"))
        self.assertRaises(BadArguments, parse_lhlo, b"a b")
        self.assertRaises(BadArguments, parse_lhlo, b"")
        self.assertEqual(parse_auth(b"plain AGEAYg=="), Auth("PLAIN", b"AGEAYg=="))
        self.assertEqual(parse_auth(b"EXTERNAL ="), Auth("EXTERNAL", b"="))
        self.assertEqual(parse_auth(b"PLAIN"), Auth("PLAIN", None))
        self.assertRaises(BadArguments, parse_auth, b"A B C")
        self.assertEqual(split_verb(b"mail FROM:<a@b>"), (b"MAIL", b"FROM:<a@b>"))

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.binary(max_size=60), st.sampled_from([b"", b"FROM:<a@b> ", b"TO:<", b'FROM:<"', b"TO:<@a:"]))
    def test_total_on_garbage(self, garbage: bytes, prefix: bytes) -> None:
        for parse in (split_verb, parse_lhlo, parse_mail, parse_rcpt, parse_auth):
            with contextlib.suppress(BadArguments, UnknownParameter):
                parse(prefix + garbage)


class ReplyTests(SynchronousTestCase):
    def test_each_line_has_the_enhanced_code(self) -> None:
        """RFC 2034 section 4."""
        self.assertEqual(
            Reply(550, "5.1.1", ("No", "User unknown")).encode(), b"550-5.1.1 No\r\n550 5.1.1 User unknown\r\n"
        )
        self.assertEqual(Reply(354, "", ("go ahead",)).encode(), b"354 go ahead\r\n")
