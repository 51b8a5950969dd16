"""The file of C{annotation_definitions}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.annotation_parts import BadDefinition, annotation_definitions, parse_definition
from pycyrus.config.settings import Settings
from pycyrus.model.annotations import BOTH, PRIVATE, SHARED, Definition, ValueKind
from pycyrus.testing.logs import captured

FILE = """\
# What this site notes
/vendor/example/colour, mailbox, string, backend, value.shared value.priv, a
/vendor/example/Weight,message,uint,proxy_and_backend,value.priv,

/vendor/example/motto,server,string,proxy,value.shared,
/comment,message,string,backend,value.shared,
/vendor/example/odd,message,string,backend,value.odd,
"""


class DefinitionTests(SynchronousTestCase):
    def settings(self, **values: str) -> Settings:
        return Settings(values)

    def test_file(self) -> None:
        """What it defines is there beside the standard entries; a line that is wrong is told of."""
        path = Path(self.mktemp())
        path.write_text(FILE)
        with captured() as events:
            found = annotation_definitions(self.settings(annotation_definitions=str(path)))
        self.assertEqual(found.of_mailbox("/vendor/example/colour"), Definition(BOTH, "a"))
        self.assertEqual(found.of_message("/vendor/example/Weight"), Definition(PRIVATE, kind=ValueKind.NATURAL))
        self.assertIsNone(found.of_message("/vendor/example/weight"))
        self.assertEqual(found.of_server("/vendor/example/motto"), Definition(SHARED))
        self.assertIsNotNone(found.of_message("/comment"))
        self.assertIsNone(found.of_message("/vendor/example/odd"))
        self.assertEqual([event["line"] for event in events.events if "line" in event], [6, 7])

    def test_no_file(self) -> None:
        """The server runs all the same."""
        with captured() as events:
            found = annotation_definitions(self.settings(annotation_definitions="/nonexistent/file"))
        self.assertIsNone(found.of_message("/vendor/example/weight"))
        self.assertEqual(len(events.events), 1)

    def test_undefined(self) -> None:
        """C{annotation_allow_undefined}"""
        found = annotation_definitions(self.settings(annotation_allow_undefined="yes"))
        self.assertEqual(found.of_message("/anything"), Definition(BOTH))
        self.assertIsNone(found.of_message("/no thing"))

    def test_wrong(self) -> None:
        """Each field is looked at."""
        for line in (
            "/vendor/a,mailbox,string,backend",
            "/a,mailbox,string,backend,value.shared,",
            "/vendor/a,folder,string,backend,value.shared,",
            "/vendor/a,mailbox,blob,backend,value.shared,",
            "/vendor/a,mailbox,string,front,value.shared,",
            "/vendor/a,mailbox,string,backend,,",
            "/vendor/a,mailbox,string,backend,size.priv,",
            "/vendor/a,mailbox,string,backend,value.shared,?",
        ):
            self.assertRaises(BadDefinition, parse_definition, line)
