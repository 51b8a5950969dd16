"""
How a protocol is found: as a plugin of Twisted, by the name in C{cmd=}.

Whoever adds a protocol puts a file into C{twisted/plugins} with a provider of
L{IMailService} in it, such as a L{MailService}.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from twisted.internet.interfaces import IProtocolFactory
from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import implementer

from pycyrus.interfaces import IMailService


@implementer(IPlugin, IMailService)
class MailService:
    """
    A protocol whose code is imported only when it is served.

    @ivar program: What stands in C{cmd=}.
    """

    def __init__(self, program: str, module: str) -> None:
        """@param module: Has a function C{make_factory}, as L{IMailService}."""
        self.program = program
        self._module = module

    def load(self) -> None:
        """Import the code now."""
        namedAny(self._module)

    def make_factory(self, context: object, name: str, arguments: Sequence[str]) -> IProtocolFactory:
        """Build the factory for one SERVICES entry."""
        factory: IProtocolFactory = namedAny(f"{self._module}.make_factory")(context, name, arguments)
        return factory


@functools.cache
def mail_services() -> dict[str, IMailService]:
    """
    All protocols that are installed, by program.

    They are looked for once: a server that gave up root may not be able to.
    """
    found: Sequence[IMailService] = list(getPlugins(IMailService))
    return {service.program: service for service in found}
