"""The checker of C{doc/howto/checker.rst} works, and is found as a plugin."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

import pycyrus
from pycyrus.auth.cache import CacheSettings
from pycyrus.auth.checkers import chain
from pycyrus.auth.interfaces import CheckerContext, ICheckerFactory
from pycyrus.errors import AuthenticationFailed, AuthenticationUnavailable
from pycyrus.test.auth.parts import TLS, AuthTestCase, at_once

_EXAMPLE = Path(pycyrus.__file__).parent.parent / "doc" / "howto" / "checker_example.py"


def load() -> Any:
    """The example, as a module."""
    if not _EXAMPLE.exists():
        raise SkipTest("the documentation is not here")
    spec = importlib.util.spec_from_file_location("checker_example", _EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ExampleTests(AuthTestCase):
    def test_example(self) -> None:
        """Chosen by name beside ours, it says yes, no, and that it cannot tell."""
        example = load()
        factory = example.LinesCheckerFactory()
        verifyObject(ICheckerFactory, factory)
        self.patch(chain, "getPlugins", lambda interface: iter([factory]))
        chain.factories.cache_clear()
        self.addCleanup(chain.factories.cache_clear)
        directory = self.directory()
        context = CheckerContext(directory, {}, at_once)
        verifyObject(ICredentialsChecker, factory.make_checker(context))
        checkers = chain.make_checkers(["lines"], context)
        self.assertLessEqual({"lines", "passwd"}, set(chain.factories()))
        self.assertFalse(checkers.has_scram_keys)
        authenticator = self.authenticator(checkers=[checkers], cache=CacheSettings(0, 0))
        self.failureResultOf(
            Deferred.fromCoroutine(authenticator.login(b"fred", b"secret", TLS)), AuthenticationUnavailable
        )
        (directory / "users.txt").write_text(f"fred 0a0b {example._hash(b'secret', bytes.fromhex('0a0b'))}\n")
        self.assertEqual(self.run_now(authenticator.login(b"Fred", b"secret", TLS)).authenticated_as, "fred")
        for user, password in ((b"fred", b"wrong"), (b"nobody", b"secret")):
            self.fails_later(authenticator.login(user, password, TLS), AuthenticationFailed)
