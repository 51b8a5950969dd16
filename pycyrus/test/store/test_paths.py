"""Names become paths, and no name leads out of its partition (abuse cases 18 and 19)."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pycyrus.errors import InvalidMailboxName, StoreUnavailable, UnknownPartition
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings, VirtualDomains, check_policy
from pycyrus.store.header import Header
from pycyrus.store.layout import MailboxPaths, create_mailbox
from pycyrus.store.partitions import BadPartition, Partitions
from pycyrus.store.paths import Layout, directory_hash, full_directory_hash, location_by_id, resolve
from pycyrus.store.settings import StoreSettings

UNIQUE_ID = "0b45cf0e-1111-4222-8333-444455556666"
ROOT = Path("/spool")
EXTENTS, TOP_DIRECTORY = 0x00080000, 0x00020000
"""Flags of ext4's directories, as lsattr shows them."""
hostile = st.one_of(
    st.text(st.sampled_from("./\\^%~$!&-AOk @\x00\n\x7féinternaluserDELTN*"), max_size=24),
    st.sampled_from(["..", ".", "../../etc", "a/../../b", "^^", "%2f", "domain", "uuid", "stage.", "x" * 300]),
    st.text(max_size=12),
)


class Neighbours(SynchronousTestCase):
    def test_users_lie_apart(self) -> None:
        """What one user's mailbox removes does not slow down another's, where the file system can see to it."""
        root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, root)
        users = root / "user"
        for place in (users / "fred", users / "fred" / "Sent", users / "mary"):
            create_mailbox(MailboxPaths(place, place, root / "stage."), Header(place.name, "user.x", 1))
        if not _flags(root) & EXTENTS:
            raise SkipTest("not on ext4")
        self.assertTrue(_flags(users) & TOP_DIRECTORY)
        self.assertFalse(_flags(root) & TOP_DIRECTORY)
        self.assertFalse(_flags(users / "fred") & TOP_DIRECTORY)


def _flags(directory: Path) -> int:
    fd = os.open(directory, os.O_RDONLY)
    flags = bytearray(8)
    try:
        fcntl.ioctl(fd, 0x80086601, flags)
    except OSError:
        return 0
    finally:
        os.close(fd)
    return int.from_bytes(flags[:4], sys.byteorder)


class Layouts(SynchronousTestCase):
    @settings(max_examples=500, deadline=None, database=None)
    @given(hostile, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(list(AdminScope)))
    def test_nothing_escapes(self, text: str, hashed: bool, full: bool, unix: bool, admin: AdminScope) -> None:
        """Whatever a client sends as a name, if it is one it lies within the partition."""
        namespace = NamespaceSettings(unixhierarchysep=unix, virtdomains=VirtualDomains.USERID)
        names = ExternalNames(namespace, Identity("fred", admin=admin))
        try:
            name = names.decode(text.encode("utf-8", "surrogatepass"), utf8=True)
            check_policy(name)
        except InvalidMailboxName:
            return
        for layout in (Layout(hashed, full), Layout(by_name=False)):
            place = resolve(ROOT, layout.location(name, UNIQUE_ID))
            self.assertIn(ROOT, place.parents)
            parts = PurePosixPath(place).parts
            self.assertNotIn("..", parts)
            self.assertTrue(all(part and len(part.encode()) < 256 and "\0" not in part for part in parts))
            self.assertFalse(any(part.endswith(".") for part in parts), "would be taken for a message")

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(hostile, min_size=1, max_size=3))
    def test_values_from_elsewhere_do_not_escape_either(self, pieces: list[str]) -> None:
        for name in (MailboxName(pieces[0], pieces[-1], tuple(pieces)), MailboxName("", None, tuple(pieces))):
            try:
                place = resolve(ROOT, Layout().location(name, UNIQUE_ID))
            except (InvalidMailboxName, UnicodeEncodeError):
                continue
            self.assertIn(ROOT, place.parents)
            self.assertNotIn("..", place.parts)

    def test_damaged_locations(self) -> None:
        for location in ["../x", "a/../../b", "/etc", "", "a//b", "a/.", "a\x00", "stage.", "user/fred/1."]:
            with self.assertRaises(InvalidMailboxName, msg=location):
                resolve(ROOT, location)
        for unique_id in ["", "..", "a/b", "../../x", "é" * 9]:
            with self.assertRaises(InvalidMailboxName, msg=unique_id):
                location_by_id(unique_id)

    @settings(max_examples=200, deadline=None, database=None)
    @given(
        st.lists(
            st.builds(
                MailboxName,
                st.sampled_from(["", "a.org", "user", "domain"]),
                st.sampled_from([None, "fred", "f.red", "domain"]),
                st.lists(
                    st.sampled_from(["a", "b.c", "user", "domain", "uuid", "a.org", "é"]), min_size=1, max_size=3
                ).map(tuple),
                st.sampled_from([None, "5F"]),
            ),
            min_size=2,
            max_size=2,
            unique=True,
        ),
        st.booleans(),
    )
    def test_every_name_has_its_own_place(self, names: list[MailboxName], hashed: bool) -> None:
        if any(name.owner is None and name.path[0] == "user" for name in names):
            return
        layout = Layout(hashed)
        self.assertNotEqual(layout.location(names[0], "aa1"), layout.location(names[1], "aa2"))

    def test_hashes(self) -> None:
        self.assertEqual([directory_hash(each) for each in ("fred", "Fred", "9", "&AOk-", "")], list("ffqqq"))
        self.assertEqual(full_directory_hash("test.x"), full_directory_hash("test"))
        self.assertTrue(all("A" <= full_directory_hash(f"user{i}") <= "W" for i in range(100)))

    def test_long_components(self) -> None:
        """A name that no file system could hold is stored by its unique id."""
        name = MailboxName("", "fred", ("x" * 300,))
        self.assertEqual(Layout().location(name, UNIQUE_ID), f"uuid/0/b/{UNIQUE_ID}")


class PartitionTests(SynchronousTestCase):
    def make(self, **options: object) -> Partitions:
        root = Path(self.mktemp())
        values = {"partitions": {"default": root / "a", "big": root / "b"}, **options}
        return Partitions(StoreSettings(root, **values))  # type: ignore[arg-type] # as given

    def test_choice(self) -> None:
        partitions = self.make(defaultpartition="Default")
        self.assertEqual(partitions.choose(None, None), "default")
        self.assertEqual(partitions.choose(None, "big"), "big")
        self.assertEqual(partitions.choose("BIG", "default"), "big")
        self.assertRaises(UnknownPartition, partitions.choose, "none", None)
        self.assertRaises(UnknownPartition, partitions.choose, "../x", None)

    def test_most_space(self) -> None:
        partitions = self.make()
        partitions.prepare()
        self.assertIn(partitions.choose(None, None), ("default", "big"))
        partitions = self.make(partitions={"gone": Path("/nonexistent/x")})
        self.assertRaises(StoreUnavailable, partitions.choose, None, None)

    def test_misconfigured(self) -> None:
        self.assertRaises(BadPartition, self.make, defaultpartition="none")
        self.assertRaises(BadPartition, self.make, partitions={"a/b": Path("x")})
        self.assertRaises(BadPartition, self.make, metapartitions={"none": Path("x")})
