"""A Murder each of whose servers has an address of its own, in a network that can be cut."""

from __future__ import annotations

from typing_extensions import override

from pycyrus.test.whole.test_murder import MurderCase
from pycyrus.testing.network import Network


class NetworkCase(MurderCase):
    """
    For tests that run in a network namespace of their own.

    @ivar network: Where servers can be cut off.
    """

    @override
    def setUp(self) -> None:
        self.network = Network()
        for role in ("master", *self.backends, *self.frontends):
            self.network.add(role)
        self.addCleanup(self.network.close)
        super().setUp()

    @override
    def address(self, role: str) -> str:
        return self.network.address(role)

    @override
    def prefix(self, role: str) -> tuple[str, ...]:
        return self.network.prefix(role)
