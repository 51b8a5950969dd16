"""Which programs cyrus.conf may name, and what becomes of them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.programs import program_of, service_program


class ProgramTests(SynchronousTestCase):
    def test_cyrus_programs_are_never_run(self) -> None:
        """However they are written, and whatever is installed."""
        for cmd, name in [
            ("ctl_cyrusdb -r", "ctl_cyrusdb"),
            ("/usr/lib/cyrus/bin/ctl_cyrusdb -r", "ctl_cyrusdb"),
            ("/usr/sbin/cyrus ctl_cyrusdb -r", "ctl_cyrusdb"),
            ("/usr/sbin/cyrus squatter", "squatter"),
            ("tls_prune", "tls_prune"),
            ("idled", "idled"),
        ]:
            program = program_of(tuple(cmd.split()))
            self.assertEqual((program.name, program.known, program.executable), (name, True, None), cmd)
            self.assertTrue(program.needless)

    def test_other_programs_are_looked_up(self) -> None:
        found = program_of(("sh", "-c", "true"))
        self.assertFalse(found.known)
        self.assertTrue(found.executable and found.executable.endswith("/sh"))
        self.assertEqual(found.arguments, ("-c", "true"))
        for missing in ("/nonexistent/program", "no-such-program", "/etc/passwd", "/tmp"):
            self.assertIsNone(program_of((missing,)).executable)

    def test_services(self) -> None:
        for cmd, name in [("imapd -s", "imapd"), ("/usr/lib/cyrus/bin/lmtpd", "lmtpd"), ("proxyd", "imapd")]:
            self.assertEqual(service_program(tuple(cmd.split())), name)
