"""What cyrus.conf may look like, and what is said where it does not."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.config.cyrus_conf import CyrusConf, parse_cyrus_conf
from pycyrus.config.listen import InetAddress, UnixAddress, parse_listen

FILE = Path("/etc/cyrus.conf")


def parse(text: str) -> CyrusConf:
    return parse_cyrus_conf(FILE, lambda path: text)


class CyrusConfTests(SynchronousTestCase):
    def test_every_section_and_key(self) -> None:
        conf = parse(
            """
# a comment
START {
  recover cmd="ctl_cyrusdb -r" # another
  idled\tcmd=idled wait=no maxfds=64
}

SERVICES {
  imap    cmd="imapd -U 30" listen="imap" prefork=5 maxchild=100 maxforkrate=3 maxfds=512 babysit=yes proto=tcp4
  lmtpunix cmd="lmtpd" listen="/run/lmtp" # trailing
}
EVENTS {  # here too
  checkpoint cmd="ctl_cyrusdb -c" period=30
  delprune cmd="cyr_expire -E 3" at=0401
}
DAEMON {
  idled cmd="idled" wait=y
}
"""
        )
        self.assertEqual(conf.problems, [])
        self.assertEqual(next((e.name, e.cmd, e.place.line) for e in conf.start), ("recover", ("ctl_cyrusdb", "-r"), 4))
        self.assertEqual((conf.start[1].wait, conf.start[1].maxfds), (False, 64))
        imap, lmtp = conf.services
        self.assertEqual(
            (
                imap.cmd,
                imap.listen,
                imap.prefork,
                imap.maxchild,
                imap.maxforkrate,
                imap.maxfds,
                imap.babysit,
                imap.proto,
            ),
            (("imapd", "-U", "30"), "imap", 5, 100, 3, 512, True, "tcp4"),
        )
        self.assertEqual((lmtp.listen, lmtp.maxchild, lmtp.proto), ("/run/lmtp", -1, "tcp"))
        self.assertEqual([(e.period, e.at) for e in conf.events], [(30, None), (0, (4, 1))])
        self.assertTrue(conf.daemon[0].wait)

    def test_problems(self) -> None:
        service = 'SERVICES {\n imap cmd="imapd" listen="imap" %s\n}'
        for text, line, expected in [
            ("imap cmd=imapd", 1, "is no beginning of a section"),
            ("SERVICE {\n}", 1, "SERVICE is no section; did you mean 'SERVICES'?"),
            ("SERVICES {\n", 1, "SERVICES has no end"),
            ("START {\n x\n}", 2, "x has no cmd="),
            ("SERVICES {\n imap cmd=imapd\n}", 2, "imap has no listen="),
            (service % "prefrok=1", 2, "imap: prefrok is no option here; did you mean 'prefork'?"),
            (service % "prefork=many", 2, "imap: prefork='many' cannot be; it takes a number"),
            (service % "proto=sctp", 2, "imap: proto='sctp' cannot be"),
            (service % "babysit=maybe", 2, "imap: babysit='maybe' cannot be; it takes yes or no"),
            (service % "prefork=1 prefork=2", 2, "imap: prefork is given twice"),
            (service % "at=0401", 2, "imap: at is no option here"),
            (service % 'x="', 2, "imap: cannot read"),
            ("EVENTS {\n x cmd=y at=2460\n}", 2, "x: at='2460' cannot be; it takes an hour and a minute"),
            ("START {\n =x\n}", 2, "does not begin with an entry's name"),
            ("START {\n a cmd=x\n a cmd=y\n}", 3, "a stands in START a second time; rename it; the first is in line 2"),
        ]:
            problems = parse(text).problems
            self.assertIn(expected, str(problems[0]), text)
            self.assertEqual(problems[0].place.line if problems[0].place else 0, line, text)

    def test_all_problems_are_collected(self) -> None:
        self.assertEqual(len(parse("SERVICES {\n a b\n c d\n}\nX {\n}").problems), 3)

    def test_listen(self) -> None:
        for text, expected in [
            ("imap", InetAddress("", 143)),
            ("1143", InetAddress("", 1143)),
            ("localhost:lmtp", InetAddress("localhost", 24)),
            ("127.0.0.1:0", InetAddress("127.0.0.1", 0)),
            ("*:sieve", InetAddress("", 4190)),
            ("[::1]:imaps", InetAddress("::1", 993)),
            ("/run/cyrus/socket/lmtp", UnixAddress(Path("/run/cyrus/socket/lmtp"))),
        ]:
            self.assertEqual(parse_listen(text), expected)
        for text in ("::1:143", "[::1]", "[::1", "localhost:", "no-such-service", "99999", ""):
            self.assertRaises(ValueError, parse_listen, text)

    @settings(max_examples=300, deadline=None, database=None)
    @given(
        st.text(max_size=100)
        | st.lists(
            st.sampled_from(
                ["START {\n", "SERVICES {\n", "}\n", "imap ", "cmd=", '"', "imapd", " listen=x", "#", "\n", "="]
            )
        ).map("".join)
    )
    def test_anything_parses(self, text: str) -> None:
        parse(text)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text(max_size=30))
    def test_any_listen_parses_or_is_refused(self, text: str) -> None:
        try:
            parse_listen(text)
        except ValueError as error:
            self.assertTrue(str(error))
