"""What imapd.conf may look like, and what is said where it does not."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.config.problems import ConfigError, Place, Problem
from pycyrus.config.syntax import Assignments, decode_text, parse_imapd_conf, parse_override, read_text

MAIN = Path("/etc/imapd.conf")


def parse(text: str, **included: str) -> Assignments:
    """Parse a text as /etc/imapd.conf; others are beside it."""
    files = {MAIN: text} | {Path("/etc") / name.replace("_", "."): other for name, other in included.items()}

    def read(path: Path) -> str:
        if path not in files:
            raise ConfigError([Problem(Place(str(path)), "cannot be read: No such file", "create it")])
        return files[path]

    return parse_imapd_conf(MAIN, read)


def pairs(found: Assignments) -> list[tuple[str, str]]:
    return [(item.key, item.value) for item in found.values]


class ImapdConfTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Keys are folded; white space around keys and values goes; comments and blank lines are left out."""
        for text, expected in [
            ("timeout: 30", [("timeout", "30")]),
            ("  Timeout :  30 \t", [("timeout", "30")]),
            ("# timeout: 30\n\n \t\nadmins: a  b", [("admins", "a  b")]),
            ("   # indented comment", []),
            ("postmaster: a#b # c", [("postmaster", "a#b # c")]),
            ("partition-default: /a:b", [("partition-default", "/a:b")]),
            ("timeout: 30\r\nadmins: x\r\n", [("timeout", "30"), ("admins", "x")]),
        ]:
            found = parse(text)
            self.assertEqual(pairs(found), expected, text)
            self.assertEqual(found.problems, [])

    def test_continuation(self) -> None:
        """A backslash at the end joins the next line; the place is the first."""
        found = parse("x: 1\nadmins: a \\\n  b \\\nc\ntimeout: 3")
        self.assertEqual(pairs(found), [("x", "1"), ("admins", "a   b c"), ("timeout", "3")])
        self.assertEqual([item.place.line for item in found.values], [1, 2, 5])

    def test_continuation_at_the_end_of_the_file(self) -> None:
        self.assertEqual(pairs(parse("admins: a \\")), [("admins", "a")])

    def test_problems_have_a_place_and_a_mend(self) -> None:
        for text, line, expected in [
            ("timeout 30", 1, "is no `name: value`"),
            ("\n\n: 30", 3, "is no `name: value`"),
            ("tim eout: 30", 1, "is no `name: value`"),
            ("a: 1\ntimeout:", 2, "timeout has no value"),
            ("timeout:   ", 1, "timeout has no value"),
            ("@include:", 1, "@include: names no file"),
            ("@include: nothing", 1, "nothing is included here"),
        ]:
            problems = parse(text).problems
            self.assertIn(expected, problems[-1].text, text)
            self.assertEqual(problems[-1].place, Place(str(MAIN), line), text)
            self.assertTrue(problems[-1].mend)

    def test_all_problems_are_collected(self) -> None:
        self.assertEqual(len(parse("a\nb\nc: 1\nd:").problems), 3)

    def test_include(self) -> None:
        """What is included stands where it is included, and knows its own file."""
        found = parse("a: 1\n@include: more.conf\nb: 2", more_conf="c: 3\nbroken")
        self.assertEqual(pairs(found), [("a", "1"), ("c", "3"), ("b", "2")])
        self.assertEqual(found.values[1].place, Place("/etc/more.conf", 1))
        self.assertEqual([str(problem.place) for problem in found.problems], ["/etc/more.conf:2"])

    def test_nothing_is_included_twice(self) -> None:
        for text in ("@include: more.conf\n@include: more.conf", "@include: imapd.conf"):
            found = parse(text, more_conf="c: 3")
            self.assertIn("a second time", found.problems[0].text)

    def test_unreadable(self) -> None:
        error = self.assertRaises(ConfigError, read_text, Path("/nonexistent/imapd.conf"))
        self.assertEqual(
            str(error),
            "/nonexistent/imapd.conf: cannot be read: No such file or directory; create it, or name another file.",
        )
        self.assertRaises(ConfigError, read_text, Path("/"))

    def test_no_text(self) -> None:
        for data, line in [(b"a: 1\nb: \xff", 2), (b"a: 1\n\nb: \0", 3)]:
            error = self.assertRaises(ConfigError, decode_text, data, "f")
            self.assertEqual(error.problems[0].place, Place("f", line))

    def test_overrides(self) -> None:
        override = parse_override(" Timeout = 40m ")
        self.assertEqual((override.key, override.value), ("timeout", "40m"))
        for text in ("timeout", "=3", "timeout=", "a b=3", "a=1\n2"):
            self.assertRaises(ConfigError, parse_override, text)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.binary(max_size=200) | st.text("ab:@include#\\\n \t=-_./", max_size=80).map(str.encode))
    def test_anything_parses_or_is_refused(self, data: bytes) -> None:
        try:
            text = decode_text(data, "f")
        except ConfigError:
            return
        parse(text)
