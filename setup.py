"""Packaging that pyproject.toml cannot say: the twistd plugin, which belongs to no package."""

import re
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
found = re.search(r'__version__ = "([^"]+)"', (here / "pycyrus/__init__.py").read_text())
assert found is not None

setup(
    version=found.group(1),
    # twisted/ and twisted/plugins/ have no __init__.py here: they are
    # Twisted's own, into which this one file is dropped.
    py_modules=["twisted.plugins.pycyrus_plugin"],
    data_files=[
        ("share/pycyrus/conf", sorted(str(p.relative_to(here)) for p in (here / "conf").glob("*") if p.is_file()))
    ],
)
