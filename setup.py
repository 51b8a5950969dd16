"""Packaging that pyproject.toml cannot say: the twistd plugin, which belongs to no package."""

import re
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
found = re.search(r'__version__ = "([^"]+)"', (here / "pycyrus/__init__.py").read_text())
assert found is not None
of_the_checkout = {"environment", "pycyrus", "run", "test"}
samples = sorted({path.parent.relative_to(here) for path in (here / "conf").rglob("*") if path.is_file()})

setup(
    version=found.group(1),
    # twisted/ and twisted/plugins/ have no __init__.py here: they are
    # Twisted's own, into which this one file is dropped.
    py_modules=["twisted.plugins.pycyrus_plugin"],
    data_files=[
        (f"share/pycyrus/{folder}", sorted(str(p.relative_to(here)) for p in (here / folder).iterdir() if p.is_file()))
        for folder in samples
    ],
    # The commands with Cyrus's names; `pycyrus` itself is an entry point.
    scripts=sorted(f"bin/{path.name}" for path in (here / "bin").iterdir() if path.name not in of_the_checkout),
)
