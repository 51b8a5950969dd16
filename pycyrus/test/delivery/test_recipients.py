"""From addresses to mailboxes."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.delivery.recipients import Target, catchall_target, poster, resolve
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import InvalidMailboxName
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.names import MailboxName, NamespaceSettings, VirtualDomains

OFF = DeliverySettings("mail.test")
USERID = DeliverySettings("mail.test", namespace=NamespaceSettings(virtdomains=VirtualDomains.USERID))
DOTS = DeliverySettings("mail.test", namespace=NamespaceSettings(unixhierarchysep=False))


def user(name: str, *path: str, domain: str = "") -> Target:
    inbox = MailboxName(domain, name, ())
    return Target(inbox, MailboxName(domain, name, path) if path else None)


class ResolveTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for given_, local_part, domain, target in (
            (OFF, "fred", "example.com", user("fred")),
            (OFF, "Fred", "", user("fred")),
            (OFF, "FRED+Sent", "", user("fred", "Sent")),
            (OFF, "fred+Sent/Old Mail", "x", user("fred", "Sent", "Old Mail")),
            (OFF, "fred+a.b", "", user("fred", "a.b")),
            (OFF, "fred.smith", "", user("fred.smith")),
            (OFF, "fred+", "", user("fred")),
            (OFF, "fred+Sent/", "", user("fred", "Sent")),
            (OFF, "fred+a//b", "", user("fred")),
            (OFF, "fred+a^b", "", user("fred")),
            (OFF, "+list/dev", "x", Target(None, MailboxName("", None, ("list", "dev")))),
            (OFF, "+user/fred/lists", "", Target(None, MailboxName("", "fred", ("lists",)))),
            (DOTS, "fred+Sent.Old", "", user("fred", "Sent", "Old")),
            (DOTS, "fred.smith+Lists.v1^2", "", user("fred.smith", "Lists", "v1.2")),
            (DOTS, "+user.fred^smith.lists", "", Target(None, MailboxName("", "fred.smith", ("lists",)))),
            (USERID, "fred+Sent", "Example.COM", user("fred", "Sent", domain="example.com")),
            (USERID, "fred", "internal", user("fred")),
            (USERID, "fred", "B\u00fccher.example", user("fred", domain="xn--bcher-kva.example")),
            (OFF, "fred", "b\u00fccher.example", user("fred")),
            (USERID, "fred", "", user("fred")),
            (USERID, "+list", "example.com", Target(None, MailboxName("example.com", None, ("list",)))),
        ):
            self.assertEqual(resolve(Recipient(local_part, domain), given_), target, local_part)

    def test_nobody_can_have_these(self) -> None:
        """Abuse cases 17 and 18."""
        for local_part, domain in (
            ("../x", ""), ("a/b", ""), ("", ""), ("+", ""), ("a*", ""), ("a%b", ""), ("fr ed", ""), ("a\nb", ""),
            ("fred", "[127.0.0.1]"), ("fred", "../x"), ("fred", "a..b"), ("fred", "\u00fc..b"),
            ("fred", "\u00fc" * 64), ("+a//b", ""), ("é", ""), ("a^b", ""),
            ("+user/a*/b", ""),
        ):  # fmt: skip
            self.assertRaises(InvalidMailboxName, resolve, Recipient(local_part, domain), USERID)

    def test_case_may_matter(self) -> None:
        keep = DeliverySettings("mail.test", downcase_recipients=False)
        self.assertEqual(resolve(Recipient("Fred", ""), keep), user("Fred"))

    def test_post_user(self) -> None:
        bb = DeliverySettings("mail.test", post_user="bb")
        self.assertEqual(resolve(Recipient("BB+list", ""), bb), Target(None, MailboxName("", None, ("list",))))
        self.assertRaises(InvalidMailboxName, resolve, Recipient("+list", ""), bb)

    def test_catchall(self) -> None:
        self.assertIsNone(catchall_target(OFF))
        self.assertEqual(catchall_target(DeliverySettings("mail.test", catchall="lost")), user("lost"))

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.text(max_size=30), st.text(max_size=20))
    def test_total(self, local_part: str, domain: str) -> None:
        try:
            target = resolve(Recipient(local_part, domain), USERID)
        except InvalidMailboxName:
            return
        for name in (target.inbox, target.folder):
            if name is not None:
                for component in (name.domain, name.owner or "", *name.path):
                    self.assertNotIn("/", component)
                    self.assertNotIn("\0", component)

    def test_whose_rights_to_post(self) -> None:
        def asked(auth: str | None) -> Identity:
            return poster(Envelope("", None, POSTMAN, "", "", "LMTPA", "", auth=auth), "example.com", USERID)

        self.assertEqual(asked(None), Identity("anonymous", "example.com"))
        self.assertEqual(asked(""), Identity("anonymous", "example.com"))
        self.assertEqual(asked("Fred@example.com"), Identity("fred", "example.com"))
        self.assertEqual(asked("cyrus"), Identity("cyrus"))
        # The case of a recipient is another matter.
        self.assertEqual(
            poster(
                Envelope("", None, POSTMAN, "", "", "LMTPA", "", auth="FRED"),
                "",
                DeliverySettings("mail.test", downcase_recipients=False),
            ),
            Identity("fred"),
        )
        self.assertEqual(asked("a@b@[x]"), Identity("anonymous", "example.com"))
