"""C{cyr_deny}."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.main import main
from pycyrus.auth.denials import Denial, Denials, read, written


class DenyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        text = f"configdirectory: {self.root}\npartition-default: {self.root}/spool\n"
        if os.geteuid() == 0:
            text += "cyrus_user: root\n"
        (self.root / "imapd.conf").write_text(text)
        (self.root / "cyrus.conf").write_text("")
        self.file = self.root / "user_deny.db"

    def deny(self, *words: str, code: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["deny", "-C", str(self.root / "imapd.conf"), *words])
        self.assertEqual(status, code, err.getvalue())
        return out.getvalue() if code == 0 else err.getvalue()

    def test_deny_list_allow(self) -> None:
        self.assertEqual(self.deny("-l"), "")
        self.deny("-s", "pop3,pop3s", "-m", "not paid", "mary")
        self.deny("fred", "jane")
        self.assertEqual(self.deny("-l"), "fred\t*\t\njane\t*\t\nmary\tpop3,pop3s\tnot paid\n")
        denials = Denials(self.file)
        self.assertTrue(denials.is_denied("mary", "pop3"))
        self.assertFalse(denials.is_denied("mary", "imap"))
        self.assertTrue(denials.is_denied("fred", "imap"))
        self.deny("-a", "fred", "nobody")
        self.assertFalse(denials.is_denied("fred", "imap"))
        self.assertTrue(denials.is_denied("jane", "imap"))

    def test_errors(self) -> None:
        """What is there is not touched."""
        self.assertIn("name a user", self.deny(code=1))
        self.assertIn("without tabs", self.deny("-m", "a\tb", "fred", code=1))
        self.file.write_bytes(b"\xa1\x02\x8b\x0dtwoskip file\0\0")
        self.assertIn("not a flat file", self.deny("fred", code=1))
        self.assertEqual(self.file.read_bytes(), b"\xa1\x02\x8b\x0dtwoskip file\0\0")

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.dictionaries(st.text("ab@.\t\n\r", min_size=1), st.builds(Denial, st.text("*,!im"), st.text("ab \u00e9")))
    )
    def test_what_is_written_is_read(self, entries: dict[str, Denial]) -> None:
        content = written(entries)
        self.assertEqual(read(content), entries)
        self.assertEqual(content.splitlines(), sorted(content.splitlines()))
