"""The option table: complete, consistent, and true to the manual."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import pycyrus
from pycyrus.config.options import Kind, Status, option_table, read_duration, read_integer, read_switch
from pycyrus.config.reference import render

ROOT = Path(pycyrus.__file__).parent.parent


class TableTests(SynchronousTestCase):
    def test_every_default_is_of_its_type(self) -> None:
        for option in option_table().options.values():
            if option.default:
                option.read(option.default)
            self.assertTrue(option.meaning.endswith("."), option.name)
            self.assertEqual(option.kind is Kind.DURATION, option.unit in ("d", "h", "m", "s"), option.name)

    def test_former_names_are_nobody_elses(self) -> None:
        table = option_table()
        for former in table.former:
            self.assertNotIn(former, table.options)

    def test_manual_is_up_to_date(self) -> None:
        """Else run: python -m pycyrus.config.reference doc/options.rst."""
        manual = ROOT / "doc" / "options.rst"
        if not manual.exists():
            self.skipTest("only in a checkout")
        self.assertEqual(manual.read_text("utf-8"), render(option_table()))

    def test_what_is_honoured_is_used(self) -> None:
        """An option that nobody asks for cannot be honoured, and what is asked for is."""
        asked: set[str] = set()
        sources = [*(ROOT / "pycyrus" / "app").rglob("*.py"), ROOT / "pycyrus" / "config" / "load.py"]
        for source in sources:
            text = source.read_text("utf-8")
            asked |= set(re.findall(r'\.(?:text|switch|integer|duration|words|word|given)\(\s*"([a-z0-9_]+)"', text))
            asked |= {f"{prefix}*" for prefix in re.findall(r'"((?:meta)?partition-)"', text)}
        honoured = {option.name for option in option_table().options.values() if option.status is Status.HONOURED}
        # Checkers are found by name, and understand options themselves.
        understood: set[str] = set()
        for source in (ROOT / "pycyrus" / "auth").rglob("*.py"):
            text = source.read_text("utf-8")
            understood |= set(re.findall(r'(?:text|switch|seconds|one_of|get)\(\s*"((?:ldap|sasl)_[a-z_]+)"', text))
            understood |= set(re.findall(r'^FILES? = "(ldap_[a-z_]+)"', text, re.MULTILINE))
            understood |= set(re.findall(r'options\["((?:ldap|sasl)_[a-z_]+)"\]', text))
        # Some are asked for by functions that have their names.
        for source in sources:
            for name, is_family in re.findall(r'\w\((?:settings, )?\s*"([a-z0-9_]+(-?))"', source.read_text("utf-8")):
                understood.add(f"{name}*" if is_family else name)
        self.assertEqual(sorted(honoured - asked - understood), [])
        # The murder's are asked for to know what the server is.
        self.assertEqual(sorted(asked - honoured), [])

    def test_families(self) -> None:
        table = option_table()
        for key, expected in [
            ("partition-default", "partition-*"),
            ("httpmodules", "http*"),
            ("http_jwt_key_dir", "http*"),
            ("sasl_pwcheck_method", "sasl_pwcheck_method"),
            ("sasl_ldapdb_uri", "sasl_*"),
            ("xlist-trash", "xlist-*"),
            ("createonpost", "autocreate_post"),
        ]:
            found = table.find(key)
            self.assertEqual(found.name if found else None, expected)
        for key in ("partition-", "nothing", "sasl_"):
            self.assertIsNone(table.find(key))


class ValueTests(SynchronousTestCase):
    def test_durations(self) -> None:
        for text, unit, expected in [
            ("32", "m", 1920),
            ("32m", "s", 1920),
            ("1d12h", "s", 129600),
            ("1D", "s", 86400),
            ("-1", "d", -86400),
            ("+5", "s", 5),
            ("0", "h", 0),
            ("1m30", "h", 90),
        ]:
            self.assertEqual(read_duration(text, unit), expected, text)
        for text in ("", "m", "1x", "1 d", "d1", "--1", "1.5h", "9" * 30):
            self.assertRaises(ValueError, read_duration, text, "s")

    def test_switches(self) -> None:
        for text in ("1", "yes", "Y", "on", "TRUE", "t"):
            self.assertTrue(read_switch(text), text)
        for text in ("0", "no", "off", "False", "n"):
            self.assertFalse(read_switch(text), text)
        for text in ("", "o", "maybe", "2"):
            self.assertRaises(ValueError, read_switch, text)

    def test_integers(self) -> None:
        for text, expected in [("10", 10), ("-1", -1), ("0x10", 16), ("010", 8), ("0", 0)]:
            self.assertEqual(read_integer(text), expected)
        for text in ("", "ten", "09", "1_0", "1 0", "٣", "9" * 40):
            self.assertRaises(ValueError, read_integer, text)

    def test_enumerations_know_yes_and_no(self) -> None:
        virtdomains = option_table()["virtdomains"]
        for text, expected in [("yes", "on"), ("USERID", "userid"), ("no", "off"), ("1", "on")]:
            self.assertEqual(virtdomains.read(text), expected)
        self.assertRaises(ValueError, option_table()["expunge_mode"].read, "yes")

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.sampled_from(sorted(option_table().options)), st.text(min_size=1, max_size=30))
    def test_any_value_is_read_or_refused(self, name: str, text: str) -> None:
        try:
            option_table()[name].read(text)
        except ValueError as error:
            self.assertTrue(str(error))
