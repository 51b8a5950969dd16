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


class AllocatorTests(SynchronousTestCase):
    """What a process keeps."""

    def grown(self, how: str) -> int:
        """@return: Octets by which a process is larger after it hashed some passwords."""
        if not Path("/proc/self/statm").exists():
            self.skipTest("the memory of a process cannot be seen here")
        command = [sys.executable, "-c", _HASHES, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)

    def test_a_hash_leaves_nothing(self) -> None:
        """A password's hash takes 19 MiB, and leaves a process as small as it was."""
        self.assertLess(self.grown("settled"), 4 << 20)
