"""Protocol servers, as twistd's plugin system finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory


class IMailService(Interface):
    """
    A protocol server, found by twistd's plugin system.

    C{cmd="imapd"} in cyrus.conf names the provider whose C{program} is imapd.
    """

    program = Attribute("str: what stands in cmd=.")

    def make_factory(context: object, name: str, arguments: Sequence[str]) -> IProtocolFactory:
        """
        Build the factory for one SERVICES entry.

        It has C{sessions}, the connections that are open, and C{shut_down()},
        which has them end.

        @param context: A L{pycyrus.app.context.Context}: the parts built from
            the configuration.
        @param name: The entry's name, by which options may be prefixed.
        @param arguments: The words after the program name, such as C{-s}.
        """
