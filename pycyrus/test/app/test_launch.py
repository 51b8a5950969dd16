"""The whole program, started and stopped as an administrator does."""

from __future__ import annotations

import contextlib
import imaplib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.selfsigned import generate
from pycyrus.test.app.launch import Launched
from pycyrus.testing.programs import is_running

DEBIAN_IMAPD_CONF = """\
configdirectory: {root}/var/lib/cyrus
proc_path: {root}/run/cyrus/proc
mboxname_lockpath: {root}/run/cyrus/lock
defaultpartition: default
partition-default: {root}/var/spool/cyrus/mail
partition-news: {root}/var/spool/cyrus/news
newsspool: {root}/var/spool/news
altnamespace: no
unixhierarchysep: no
lmtp_downcase_rcpt: yes
allowanonymouslogin: no
popminpoll: 1
autocreate_quota: 0
umask: 077
sieveusehomedir: false
sievedir: {root}/var/spool/sieve
httpmodules: caldav carddav
hashimapspool: true
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auto_transition: no
tls_client_ca_dir: /etc/ssl/certs
tls_session_timeout: 1440
lmtpsocket: {root}/run/cyrus/socket/lmtp
idlesocket: {root}/run/cyrus/socket/idle
notifysocket: {root}/run/cyrus/socket/notify
syslog_prefix: cyrus
"""
"""The options that Debian's cyrus-common sets, under another root."""

DEBIAN_CYRUS_CONF = """\
START {{
\trecover\t\tcmd="/usr/sbin/cyrus ctl_cyrusdb -r"
\tdelprune\tcmd="/usr/sbin/cyrus expire -E 3"
\ttlsprune\tcmd="/usr/sbin/cyrus tls_prune"
}}
SERVICES {{
\timap\t\tcmd="imapd -U 30" listen="{imap}" prefork=0 maxchild=100
\tpop3\t\tcmd="pop3d -U 30" listen="{imap}" prefork=0 maxchild=50
\tnntp\t\tcmd="nntpd -U 30" listen="nntp" prefork=0 maxchild=100
\thttp\t\tcmd="httpd -U 30" listen="8008" prefork=0 maxchild=100
\tlmtpunix\tcmd="lmtpd" listen="{root}/run/cyrus/socket/lmtp" prefork=0 maxchild=20
  \tsieve\t\tcmd="timsieved" listen="{imap}" prefork=0 maxchild=100
\tnotify\t\tcmd="notifyd" listen="{root}/run/cyrus/socket/notify" proto="udp" prefork=1
}}
EVENTS {{
\tcheckpoint\tcmd="/usr/sbin/cyrus ctl_cyrusdb -c" period=30
\tdelprune\tcmd="/usr/sbin/cyrus expire -E 3" at=0401
\ttlsprune\tcmd="/usr/sbin/cyrus tls_prune" at=0401
\tdeleteprune\tcmd="/usr/sbin/cyrus expire -E 4 -D 28" at=0430
\texpungeprune\tcmd="/usr/sbin/cyrus expire -E 4 -X 28" at=0445
}}
"""
"""The entries of its cyrus.conf, likewise."""


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)


def parent_of(pid: int) -> int:
    """The process that made another."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    """The processes that another made, as far as they are there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        # Any may end meanwhile.
        with contextlib.suppress(OSError):
            if parent_of(int(path.name)) == pid:
                found.append(int(path.name))
    return found


def imap(ready: dict[str, Any]) -> imaplib.IMAP4:
    address = ready["services"]["imap"]
    return imaplib.IMAP4(address["host"], address["port"], timeout=60)


class LaunchCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Short, for the path of a Unix socket has little room.
        self.root = Path(tempfile.mkdtemp(prefix="pc-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.root.chmod(0o755)

    def logged_in(self, ready: dict[str, Any]) -> imaplib.IMAP4:
        client = imap(ready)
        account = ready["accounts"]["user"]
        client.login(account["user"], account["password"])
        return client


class EmbeddedTests(LaunchCase):
    def test_from_first_start_to_second(self) -> None:
        """It welcomes the user; mail and passwords are there again the second time."""
        home = self.root / "home"
        with Launched.embedded(home) as server:
            ready = server.ready()
            self.assertEqual(set(ready["services"]), {"imap", "imaps", "lmtp", "lmtpunix", "pop3", "pop3s", "smmap"})
            self.assertEqual((ready["pid"], ready["workers"]), (server.pid, []))
            self.assertEqual((home / "ready.json").stat().st_mode & 0o777, 0o600)
            client = self.logged_in(ready)
            self.assertEqual(client.select(), ("OK", [b"1"]))
            self.assertIn("Welcome to pycyrus", str(client.fetch("1", "(BODY[TEXT])")))
            with smtplib.LMTP(ready["services"]["lmtpunix"]["path"]) as lmtp:
                lmtp.sendmail("a@example.com", ["user"], b"Subject: second\r\n\r\nHello.\r\n")
            self.assertEqual(server.stop(), -signal.SIGTERM)
            self.assertEqual(client.readline()[:5], b"* BYE")
            client.shutdown()
        self.assertFalse((home / "ready.json").exists())
        self.assertFalse((home / "socket" / "lmtp").exists())
        self.assertIn(ready["accounts"]["user"]["password"], server.output)
        self.assertTrue((home / "spool" / "user" / "user" / "1.").exists())
        with Launched.embedded(home) as server:
            again = server.ready()
            self.assertEqual(again["accounts"], ready["accounts"])
            client = self.logged_in(again)
            self.assertEqual(client.select(), ("OK", [b"2"]))
            client.logout()

    def test_what_is_killed_starts_again(self) -> None:
        """A killed worker is replaced; all go with a killed master, and a new one takes over what it left."""
        home = self.root / "home"
        with Launched.embedded(home, "--workers", "2") as server:
            ready = server.ready()
            first, second = ready["workers"]
            os.kill(first, signal.SIGKILL)
            until(lambda: first not in server.ready()["workers"] and len(server.ready()["workers"]) == 2)
            workers = server.ready()["workers"]
            self.assertIn(second, workers)
            self.logged_in(ready).logout()
            server.send(signal.SIGKILL)
            server.wait()
            until(lambda: not any(is_running(pid) for pid in workers))
        self.assertTrue((home / "ready.json").exists())
        with Launched.embedded(home) as server:
            self.assertEqual(server.ready()["pid"], server.pid)
            self.logged_in(server.ready()).logout()
            second_server = Launched.embedded(home)
            self.assertEqual(second_server.wait(), 1)
            self.assertIn(f"another server runs in {home}; stop it first", second_server.output)
            self.assertEqual(server.ready()["pid"], server.pid)

    def test_the_template_of_workers_is_killed(self) -> None:
        """Its workers serve on, the next that ends is replaced, and all end with the server."""
        with Launched.embedded(self.root / "home", "--workers", "2") as server:
            ready = server.ready()
            client = self.logged_in(ready)
            template = parent_of(ready["workers"][0])
            os.kill(template, signal.SIGKILL)
            until(lambda: "it is started again" in server.output)
            # The next one, too, before it had anything to do.
            until(lambda: len(children_of(server.pid)) == 1)
            (template,) = children_of(server.pid)
            os.kill(template, signal.SIGKILL)
            until(lambda: server.output.count("it is started again") == 2)
            self.assertEqual(client.noop()[0], "OK")
            for pid in ready["workers"]:
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(set(server.ready()["workers"]) - set(ready["workers"])) == 2)
            self.logged_in(ready).logout()
            workers = server.ready()["workers"]
            self.assertEqual(server.stop(), -signal.SIGTERM)
            until(lambda: not any(is_running(pid) for pid in workers))
            client.shutdown()

    def test_the_template_of_workers_cannot_start(self) -> None:
        """The server says so and ends, rather than wait for ever."""
        broken = self.root / "broken"
        broken.mkdir()
        (broken / "sitecustomize.py").write_text(
            "import sys\nif '-m' in sys.orig_argv:\n    raise SystemExit('no template today')\n"
        )
        path = os.pathsep.join([str(broken), *(str(Path(path).absolute()) for path in sys.path)])
        server = Launched(
            self.root / "home",
            ["--home", str(self.root / "home"), "--port-base", "0", "--workers", "1"],
            environment={"PYTHONPATH": path},
        )
        self.assertEqual(server.wait(), 1)
        self.assertIn("WorkerFailed: the process that makes workers died", server.output)

    def test_modules_in_the_current_directory_are_none_of_ours(self) -> None:
        """Whoever may write where root starts the server runs nothing by it."""
        (self.root / "json.py").write_text("raise SystemExit('planted')")
        home = self.root / "home"
        with Launched.embedded(home, "--workers", "1", directory=self.root) as server:
            self.assertEqual(len(server.ready()["workers"]), 1)
            self.assertNotIn("planted", server.output)

    def test_state_that_cannot_be_used(self) -> None:
        """What only shows when the parts are put together is told as well, by the exit code too."""
        for number, workers in enumerate(("0", "1")):
            home = self.root / str(number)
            home.mkdir()
            # What is only damaged is made again.
            (home / "users.db").mkdir()
            server = Launched.embedded(home, "--workers", workers)
            self.assertEqual(server.wait(), 1)
            self.assertIn("pycyrus: the server cannot start: UserDatabaseError: cannot open", server.output)
            self.assertFalse((home / "ready.json").exists())
            self.assertFalse((home / "socket" / "lmtp").exists())

    def test_hangup(self) -> None:
        """A new certificate is shown to new clients; what cannot change is told."""
        home = self.root / "home"
        with Launched.embedded(home) as server:
            ready = server.ready()
            client = self.logged_in(ready)
            before = self.certificate(ready)
            generate(home / "tls" / "certificate.pem", home / "tls" / "key.pem")
            server.send(signal.SIGHUP)
            until(lambda: "the configuration was read again" in server.output)
            self.assertNotEqual(self.certificate(ready), before)
            self.assertEqual(client.noop()[0], "OK")
            client.logout()

    def certificate(self, ready: dict[str, Any]) -> str:
        address = ready["services"]["imaps"]
        return ssl.get_server_certificate((address["host"], address["port"]), timeout=60)

    def test_port_in_use(self) -> None:
        """It says so, and leaves nothing behind that a next start would have to remove."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            base = other.getsockname()[1] - 143
            pid_file = self.root / "twistd.pid"
            server = Launched(
                self.root / "home",
                ["--home", str(self.root / "home"), "--port-base", str(base)],
                twistd=("-n", f"--pidfile={pid_file}"),
            )
            self.assertEqual(server.wait(), 1)
        self.assertIn(f"imap: cannot listen at 127.0.0.1:{base + 143}: it is in use; stop the program", server.output)
        # Another program may have one of the other ports just now.
        self.assertEqual([line for line in server.output.splitlines() if "cannot listen at" not in line], [])
        self.assertFalse(pid_file.exists())
        self.assertEqual(list((self.root / "home").rglob("*.json")), [])
        self.assertFalse((self.root / "home" / "socket" / "lmtp").exists())


class ConfigurationTests(LaunchCase):
    def write(self, imapd_conf: str, cyrus_conf: str) -> list[str]:
        """Write the two files, and give the options that name them."""
        (self.root / "imapd.conf").write_text(imapd_conf)
        (self.root / "cyrus.conf").write_text(cyrus_conf)
        options = ["-C", str(self.root / "imapd.conf"), "-M", str(self.root / "cyrus.conf")]
        return [*options, "--option", "cyrus_user=root"] if os.geteuid() == 0 else options

    def test_what_debian_installs(self) -> None:
        """It starts unchanged, but for paths and the port; what is not there yet is said and left out."""
        options = self.write(
            DEBIAN_IMAPD_CONF.format(root=self.root),
            DEBIAN_CYRUS_CONF.format(root=self.root, imap="127.0.0.1:0"),
        )
        with Launched(self.root / "var/lib/cyrus", [*options, "--workers", "1"]) as server:
            ready = server.ready()
            self.assertEqual(set(ready["services"]), {"imap", "lmtpunix", "pop3", "sieve"})
            self.assertNotIn("accounts", ready)
            self.assertEqual(len(ready["workers"]), 1)
            client = imap(ready)
            self.assertEqual(client.noop()[0], "OK")
            client.logout()
            with smtplib.LMTP(ready["services"]["lmtpunix"]["path"]) as lmtp:
                refused = self.assertRaises(
                    smtplib.SMTPRecipientsRefused, lmtp.sendmail, "a@example.com", ["nobody"], b"x"
                )
                self.assertEqual(refused.recipients["nobody"][0], 550)
            self.assertEqual(server.stop(), -signal.SIGTERM)
        for expected in (
            "service http is left out: httpd is not part of pycyrus",
            "START recover: ctl_cyrusdb is not run: databases recover when they are opened",
            "imapd.conf:10: altnamespace",
        )[:2]:
            self.assertIn(expected, server.output)

    def test_samples(self) -> None:
        """The samples in conf/ start, with other paths and ports."""
        conf = Path(__file__).parents[3] / "conf"
        if not conf.is_dir():
            self.skipTest("only in a checkout")
        texts = [(conf / name).read_text() for name in ("imapd.conf", "cyrus.conf")]
        for old, new in (("/var/lib/cyrus", f"{self.root}/lib"), ("/var/spool/cyrus", f"{self.root}/spool")):
            texts = [text.replace(old, new) for text in texts]
        options = self.write(texts[0], re.sub('listen="(imap|pop3)"', 'listen="127.0.0.1:0"', texts[1]))
        with Launched(self.root / "lib", [*options, "--workers", "0"]) as server:
            self.assertEqual(set(server.ready()["services"]), {"imap", "lmtpunix", "pop3", "smmap"})

    def test_everything_that_is_wrong_is_told_at_once(self) -> None:
        options = self.write(
            "configdirectory: /proc/nothing\npartition-default: /nonexistent/a/b\ntimeuot: 3\ntimeout: soon\n",
            'SERVICES {\n imap cmd="imapd" listn="imap"\n}\n',
        )
        server = Launched(self.root, options)
        self.assertEqual(server.wait(), 1)
        name = self.root
        for expected in (
            f"{name}/imapd.conf:3: timeuot is no option; did you mean 'timeout'?",
            f"{name}/imapd.conf:4: timeout: 'soon' cannot be; it takes a time",
            f"{name}/cyrus.conf:2: imap: listn is no option here; did you mean 'listen'?",
        ):
            self.assertIn(expected, server.output)
        self.assertEqual(len(server.output.splitlines()), 3)

    def test_what_cannot_be_prepared(self) -> None:
        options = self.write(
            "configdirectory: /etc/passwd/x\npartition-default: /proc/a/b\ntls_server_cert: /nonexistent/c\n",
            'START {\n x cmd="no-such-program"\n}\nSERVICES {\n imap cmd="imapdd" listen="imap"\n'
            ' imaps cmd="imapd -s" listen="127.0.0.1:0"\n}\n',
        )
        server = Launched(self.root, options)
        self.assertEqual(server.wait(), 1)
        for expected in (
            "imapd.conf:1: configdirectory: /etc/passwd/x is not there",
            "imapd.conf:3: tls_server_cert: cannot read /nonexistent/c",
            "cyrus.conf:2: x: there is no program no-such-program",
            "cyrus.conf:5: imap: no service is called imapdd; did you mean 'imapd'?",
        ):
            self.assertIn(expected, server.output)

    def test_unreadable(self) -> None:
        server = Launched(self.root, ["-C", str(self.root / "imapd.conf")])
        self.assertEqual(server.wait(), 1)
        self.assertIn(f"{self.root}/imapd.conf: cannot be read: No such file or directory; create it", server.output)
        self.assertIn(f"{self.root}/cyrus.conf: cannot be read", server.output)

    def test_a_partition_that_is_gone(self) -> None:
        """Later its mailboxes alone are missed; at the first start nothing is served."""
        options = self.write(
            f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\ndefaultpartition: default\n"
            f"partition-news: {self.root}/disk/news\nworkers: 0\n",
            'SERVICES {\n imap cmd="imapd" listen="127.0.0.1:0"\n}\n',
        )
        with Launched(self.root / "lib", options[:4]):
            pass
        shutil.rmtree(self.root / "disk")
        with Launched(self.root / "lib", options[:4]) as server:
            client = imap(server.ready())
            self.assertEqual(client.noop()[0], "OK")
            client.logout()
        self.assertIn("partition-news:", server.output)
        self.assertIn("its mailboxes cannot be used until then", server.output)
        shutil.rmtree(self.root / "lib")
        (self.root / "disk").write_text("no directory")
        self.assertEqual(Launched(self.root / "lib", options[:4]).wait(), 1)

    def test_root_is_given_up(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only as root")
        options = self.write(
            f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\nworkers: 1\ncyrus_user: nobody\n",
            f'SERVICES {{\n imap cmd="imapd" listen="127.0.0.1:0"\n lmtp cmd="lmtpd" listen="{self.root}/s/lmtp"\n}}\n',
        )
        with Launched(self.root / "lib", options[:4]) as server:
            ready = server.ready()
            for pid in (server.pid, *ready["workers"]):
                status = Path(f"/proc/{pid}/status").read_text()
                uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
                self.assertNotIn("0", uids)
            client = imap(ready)
            self.assertEqual(client.noop()[0], "OK")
            client.logout()
            self.assertEqual(server.stop(), -signal.SIGTERM)
        self.assertFalse((self.root / "s/lmtp").exists())

    def test_options_are_read_again(self) -> None:
        """New connections see what changed, in all workers; what cannot change, or cannot be, is said."""
        imapd_conf = f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\nworkers: 2\n"
        cyrus_conf = 'SERVICES {\n imap cmd="imapd" listen="127.0.0.1:0"\n}\n'
        options = self.write(imapd_conf, cyrus_conf)
        with Launched(self.root / "lib", options) as server:
            ready = server.ready()
            self.assertIn("ENABLE", self.capabilities(ready))
            self.write(imapd_conf + "suppress_capabilities: ENABLE\nhashimapspool: yes\n", cyrus_conf)
            server.send(signal.SIGHUP)
            until(lambda: all("ENABLE" not in self.capabilities(ready) for _ in range(8)))
            self.assertIn("hashimapspool takes effect at the next restart", server.output)
            self.write("nonsense: 1\n", cyrus_conf)
            server.send(signal.SIGHUP)
            until(lambda: "nonsense is no option" in server.output)
            self.assertIn("The former configuration stays.", server.output)
            self.assertNotIn("ENABLE", self.capabilities(ready))

    def capabilities(self, ready: dict[str, Any]) -> tuple[str, ...]:
        client = imap(ready)
        try:
            return client.capabilities
        finally:
            client.logout()

    def test_logs(self) -> None:
        """The log goes to a file as JSON too, with the workers' lines."""
        options = self.write(
            f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\nworkers: 1\n"
            f"log_json: {self.root}/log.json\nallowplaintext: yes\nfailedloginpause: 0\n",
            'SERVICES {\n imap cmd="imapd" listen="127.0.0.1:0"\n}\n',
        )
        with Launched(self.root / "lib", options) as server:
            client = imap(server.ready())
            self.assertRaises(imaplib.IMAP4.error, client.login, "nobody", "secret")
            client.logout()
            until(lambda: "badlogin" in (self.root / "log.json").read_text())
        events = [json.loads(line) for line in (self.root / "log.json").read_text().splitlines()]
        found = [event for event in events if "badlogin" in str(event.get("log_format"))]
        self.assertEqual((found[0]["peer"], found[0]["service"]), ("127.0.0.1", "imap"))
        self.assertNotIn("secret", (self.root / "log.json").read_text() + server.output)

    def test_ready_json_is_json_of_the_agreed_form(self) -> None:
        options = self.write(
            f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\nworkers: 0\n",
            'SERVICES {\n inner cmd="imapd" listen="127.0.0.1:0"\n}\n',
        )
        with Launched(self.root / "lib", options) as server:
            text = (self.root / "lib" / "ready.json").read_text()
            self.assertEqual(set(json.loads(text)), {"version", "pid", "workers", "services"})
            self.assertEqual(set(server.ready()["services"]), {"inner"})
