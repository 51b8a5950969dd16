"""pycyrus check: tells everything that is wrong, and by its exit code whether anything is."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus import __version__
from pycyrus.admin.main import main


class CheckTests(SynchronousTestCase):
    def run_verb(self, *arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, out.getvalue()

    def files(self, imapd_conf: str, cyrus_conf: str) -> list[str]:
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        (root / "imapd.conf").write_text(imapd_conf.replace("ROOT", str(root)))
        (root / "cyrus.conf").write_text(cyrus_conf)
        return ["check", "-C", str(root / "imapd.conf"), "-M", str(root / "cyrus.conf"), "--option", "cyrus_user=root"]

    def test_nothing_is_wrong(self) -> None:
        # Short, for the path of a Unix socket has little room.
        root = Path(tempfile.mkdtemp(prefix="pc-"))
        self.addCleanup(shutil.rmtree, root)
        home = root / "home"
        self.assertEqual(self.run_verb("check", "--home", str(home), "--port-base", "0"), (0, "nothing is wrong\n"))
        self.assertFalse(home.exists())

    def test_problems(self) -> None:
        arguments = self.files(
            "configdirectory: ROOT/lib\npartition-default: ROOT/spool\n"
            "sieve_utf8fileinto: yes\nsyslog_facility: post\n",
            'SERVICES {\n imap cmd="imapd" listen="203.0.113.7:1"\n news cmd="nntpd" listen="nntp"\n}\n',
        )
        code, output = self.run_verb(*arguments)
        self.assertEqual(code, 1)
        for expected in (
            "imapd.conf:3: sieve_utf8fileinto has no effect yet",
            "cyrus.conf:3: service news is left out: nntpd is not part of pycyrus",
            "imapd.conf:4: syslog_facility: 'post' is none",
            "cyrus.conf:2: imap: cannot listen at 203.0.113.7:1",
            "2 problems\n",
        ):
            self.assertIn(expected, output)

    def test_json(self) -> None:
        arguments = self.files("configdirectory: ROOT/lib\ntimeuot: 3\n", "SERVICES {\n}\n")
        code, output = self.run_verb(*arguments, "--json")
        self.assertEqual(code, 1)
        problem = json.loads(output)["problems"][0]
        self.assertEqual((problem["line"], problem["problem"]), (2, "timeuot is no option"))
        self.assertTrue(problem["file"].endswith("imapd.conf"))
        self.assertEqual(problem["mend"], "did you mean 'timeout'?")

    def test_version(self) -> None:
        self.assertEqual(self.run_verb("--version"), (0, f"pycyrus {__version__}\n"))
