"""From lines to values: prefixes, former names, defaults, and every complaint."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.config.options import option_table
from pycyrus.config.problems import ConfigError
from pycyrus.config.settings import Checked, Settings, check
from pycyrus.config.syntax import parse_imapd_conf, parse_override


def checked(text: str, *overrides: str, services: tuple[str, ...] = ()) -> Checked:
    found = parse_imapd_conf(Path("f"), lambda path: text)
    assert not found.problems, found.problems
    return check(found.values, [parse_override(each) for each in overrides], services)


def made(text: str, *overrides: str, services: tuple[str, ...] = ()) -> Settings:
    return checked(text, *overrides, services=services).settings()


class SettingsTests(SynchronousTestCase):
    def test_types_and_defaults(self) -> None:
        settings = made("configdirectory: /c\nadmins: a b\numask: 027\ntls_versions: tls1_3\nvirtdomains: yes")
        self.assertEqual(settings.text("configdirectory"), "/c")
        self.assertEqual(settings.words("admins"), ("a", "b"))
        self.assertEqual(settings.integer("umask"), 0o27)
        self.assertEqual(settings.words("tls_versions"), ("tls1_3",))
        self.assertEqual(settings.word("virtdomains"), "on")
        self.assertEqual(settings.duration("timeout"), 1920)
        self.assertTrue(settings.switch("altnamespace"))
        self.assertEqual(settings.text("servername"), "")
        self.assertEqual(settings.duration("popminpoll"), 0)
        self.assertEqual(settings.text("lmtpsocket"), "/c/socket/lmtp")
        self.assertFalse(settings.given("timeout"))
        self.assertRaises(KeyError, settings.text, "nonsense")

    def test_a_service_sees_its_own(self) -> None:
        settings = made("timeout: 40\nimap_timeout: 50\nadmins: a\nlmtp_admins: b", services=("inner",))
        self.assertEqual(settings.duration("timeout"), 2400)
        self.assertEqual(settings.for_service("imap").duration("timeout"), 3000)
        self.assertEqual(settings.for_service("imaps").duration("timeout"), 2400)
        self.assertEqual(settings.for_service("lmtp").words("admins"), ("b",))
        self.assertEqual(settings.for_service("imap").words("admins"), ("a",))

    def test_services_of_cyrus_conf_may_prefix(self) -> None:
        settings = made("inner_timeout: 50", services=("Inner",))
        self.assertEqual(settings.for_service("inner").duration("timeout"), 3000)

    def test_an_option_goes_before_a_prefix(self) -> None:
        """lmtp_downcase_rcpt is an option of that name, not downcase_rcpt of lmtp."""
        settings = made("lmtp_downcase_rcpt: no\nlmtpunix_lmtp_downcase_rcpt: yes")
        self.assertFalse(settings.switch("lmtp_downcase_rcpt"))
        self.assertTrue(settings.for_service("lmtpunix").switch("lmtp_downcase_rcpt"))

    def test_families(self) -> None:
        settings = made("configdirectory: /c\npartition-default: {configdirectory}/m\npartition-other: /o")
        self.assertEqual(settings.family("partition-"), {"default": "/c/m", "other": "/o"})

    def test_open_ended_keys(self) -> None:
        """Backends' passwords, channels of replication, and SASL's options are known by their form."""
        found = checked(
            "be1_password: x\nbe1_mechs: PLAIN\nchan_sync_host: h\nsasl_ldapdb_uri: u\nimap_sasl_mech_list: PLAIN"
        )
        self.assertEqual(found.problems, [])
        self.assertEqual(found.settings().for_service("imap").words("sasl_mech_list"), ("PLAIN",))

    def test_former_names(self) -> None:
        found = checked("tls_cert_file: /c.pem\nimap_tls_key_file: /k.pem\ncreateonpost: yes")
        settings = found.settings()
        self.assertEqual(settings.text("tls_server_cert"), "/c.pem")
        self.assertEqual(settings.for_service("imap").text("tls_server_key"), "/k.pem")
        self.assertIn("tls_cert_file is a former name; it is tls_server_cert now", str(found.notices[0]))

    def test_overrides_go_first(self) -> None:
        settings = made("timeout: 40", "timeout=50", "timeout=60")
        self.assertEqual(settings.duration("timeout"), 3600)

    def test_problems(self) -> None:
        for text, expected in [
            ("timeuot: 3", "f:1: timeuot is no option; did you mean 'timeout'?"),
            ("blubber: 3", "f:1: blubber is no option; remove it"),
            ("imapp_timeout: 3", "f:1: imapp_timeout is no option; no service of cyrus.conf is named imapp."),
            ("timeout: soon", "f:1: timeout: 'soon' cannot be; it takes a time such as 90s, 32m, 1d12h."),
            ("altnamespace: perhaps", "f:1: altnamespace: 'perhaps' cannot be; it takes yes or no."),
            ("expunge_mode: never", "it takes one of immediate, semidelayed, delayed."),
            ("umask: 9", "it takes octal digits"),
            ("a: 1\n", "f:1: a is no option"),
            ("timeout: 1\n\ntimeout: 1", "f:3: timeout is set a second time; remove one; the first is in f:1."),
            ("tls_cert_file: /a\ntls_server_cert: /b", "f:2: tls_server_cert is set a second time"),
            ("partition-a: /1\npartition-a: /2", "f:2: partition-a is set a second time"),
            ("debug_command: /bin/gdb", "f:1: debug_command is refused because it is unsafe; remove the line."),
            ("sasl_pwcheck_method: auxprop alwaystrue", "lets everybody in"),
        ]:
            self.assertIn(expected, str(checked(text).problems[0]), text)

    def test_all_problems_are_told_at_once(self) -> None:
        found = checked("timeuot: 3\ntimeout: x\numask: 9", "nonsense=1")
        error = self.assertRaises(ConfigError, found.settings)
        self.assertEqual(len(error.problems), 4)

    def test_later_options_are_noticed_when_they_ask_for_something(self) -> None:
        self.assertEqual(checked("sieve_utf8fileinto: no").notices, [])
        self.assertEqual(
            str(checked("sieve_utf8fileinto: yes").notices[0]), "f:1: sieve_utf8fileinto has no effect yet"
        )

    @hypothesis_settings(max_examples=200, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(option_table().names())[:80]) | st.text("abimp_-", min_size=1, max_size=12),
                st.text("0123456789dhmsyesno /.%{}", min_size=1, max_size=12).filter(lambda text: bool(text.strip())),
            ),
            max_size=6,
        )
    )
    def test_anything_is_settings_or_an_error(self, lines: list[tuple[str, str]]) -> None:
        found = parse_imapd_conf(Path("f"), lambda path: "\n".join(f"{key}: {value}" for key, value in lines))
        result = check(found.values)
        try:
            settings = result.settings()
        except ConfigError:
            return
        for name in option_table().names():
            if settings.given(name):
                settings._value(name)
