"""Memory that was given back goes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

_HASHES = """
import sys, threading
from argon2 import PasswordHasher
from pycyrus.app import allocator

if sys.argv[1] == "settled":
    allocator.settle()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def work():
    for _ in range(3):
        hasher.hash("secret")

hasher = PasswordHasher(time_cost=1, memory_cost=19456, parallelism=1)
before = resident()
for _ in range(3):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(resident() - before)
"""

_PIECES = """
import sys
from pycyrus.app import allocator

allocator.settle()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

before = resident()
# As after many connections: what is free lies between what is in use.
pieces = [bytes(size) for _ in range(1000) for size in (60_000, 1_000)]
del pieces[::2]
if sys.argv[1] == "given back":
    allocator.give_back()
print(resident() - before)
"""


class AllocatorTests(SynchronousTestCase):
    """What a process keeps."""

    def grown(self, how: str, work: str = _HASHES) -> int:
        """@return: Octets by which a process is larger after it hashed some passwords, or did other work."""
        if not Path("/proc/self/statm").exists():
            self.skipTest("the memory of a process cannot be seen here")
        command = [sys.executable, "-c", work, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)

    def test_a_hash_leaves_nothing(self) -> None:
        """A password's hash takes 19 MiB, and leaves a process as small as it was."""
        self.assertLess(self.grown("settled"), 4 << 20)

    def test_what_is_free_between_the_rest(self) -> None:
        """Only what is asked for goes back."""
        self.assertGreater(self.grown("kept", _PIECES), 40 << 20)
        self.assertLess(self.grown("given back", _PIECES), 20 << 20)
