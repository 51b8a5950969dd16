"""
Hosts in a network of their own, which can be cut off from one another.

It needs a network namespace that nobody else is in, such as C{unshare -n} gives to root, and
C{unshare -Urn} to anybody where the kernel allows it.  Each host is a namespace of its own;
they hang on one bridge.  Packets of hosts that are cut off vanish: nothing is refused.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_NOWHERE = "02:00:00:00:00:99"
"""A hardware address that nobody has."""
_WITHIN = 10.0


class NetworkError(Exception):
    """There can be no such network here."""


def own_namespace() -> tuple[str, ...]:
    """What starts a program in a network namespace of its own."""
    return ("unshare", "-n") if os.geteuid() == 0 else ("unshare", "-Urn")


class Network:
    """Hosts by name; this process is on the bridge, and reaches all of them."""

    def __init__(self) -> None:
        """@raise NetworkError: The kernel, or the programs ip, unshare and nsenter, do not allow it."""
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers: dict[str, int] = {}
        self._run("ip", "link", "set", "lo", "up")
        self._run("ip", "link", "add", "br0", "type", "bridge")
        self._run("ip", "addr", "add", "10.99.0.1/24", "dev", "br0")
        self._run("ip", "link", "set", "br0", "up")

    @staticmethod
    def _run(*command: str) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise NetworkError(str(error)) from error
        if done.returncode:
            raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")

    def add(self, host: str) -> None:
        """
        Add a host.

        @raise NetworkError: It cannot be.
        """
        # It ends with this process, however that ends.
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "read _"], stdin=subprocess.PIPE)
        own = Path("/proc/self/ns/net").readlink()
        deadline = time.monotonic() + _WITHIN
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == own:
            if holder.poll() is not None or time.monotonic() > deadline:
                raise NetworkError("unshare -n does not work")
            time.sleep(0.005)
        self._holders[host] = holder
        self._numbers[host] = number = len(self._numbers) + 2
        self._run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        self._run("ip", "link", "set", f"v{number}", "master", "br0", "up")
        self._on(host, "link", "set", "lo", "up")
        self._on(host, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        self._on(host, "link", "set", "eth0", "up")

    def address(self, host: str) -> str:
        """A host's address."""
        return f"10.99.0.{self._numbers[host]}"

    def prefix(self, host: str) -> tuple[str, ...]:
        """What starts a program there."""
        return ("nsenter", f"--net=/proc/{self._holders[host].pid}/ns/net", "--")

    def _on(self, host: str, *command: str) -> None:
        self._run(*self.prefix(host), "ip", *command)

    def cut(self, one: str, other: str) -> None:
        """Have no packet of one reach the other."""
        for here, there in ((one, other), (other, one)):
            address = self.address(there)
            self._on(here, "neigh", "replace", address, "lladdr", _NOWHERE, "dev", "eth0", "nud", "permanent")

    def heal(self, one: str, other: str) -> None:
        """Undo L{cut}."""
        for here, there in ((one, other), (other, one)):
            self._on(here, "neigh", "del", self.address(there), "dev", "eth0")

    def isolate(self, host: str) -> None:
        """Have no packet of a host reach anybody."""
        self._run("ip", "link", "set", self._end_of(host), "nomaster")

    def rejoin(self, host: str) -> None:
        """Undo L{isolate}."""
        self._run("ip", "link", "set", self._end_of(host), "master", "br0")

    def _end_of(self, host: str) -> str:
        """What a host hangs on the bridge by."""
        return f"v{self._numbers[host]}"

    def close(self, hosts: Sequence[str] = ()) -> None:
        """End hosts, all if none are named; what runs there must have been ended before."""
        for host in list(hosts or self._holders):
            holder = self._holders.pop(host)
            # The kernel itself would do it some time after the end of the namespace.
            self._run("ip", "link", "del", self._end_of(host))
            holder.communicate()
        if not self._holders:
            self._run("ip", "link", "del", "br0")
