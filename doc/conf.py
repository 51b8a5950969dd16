"""Sphinx configuration."""

import tomllib
from pathlib import Path

import pycyrus

project = "pycyrus"
author = "the pycyrus developers"
copyright = "2026, the pycyrus developers"  # noqa: A001 - Sphinx's name
version = release = pycyrus.__version__
extensions: list[str] = []
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "A mail store for many domains, on Twisted", "page_width": "1000px"}
html_static_path: list[str] = []


def _write_rfc_table() -> None:
    """Render rfc-support.toml, which tests hold true, as the page that people read."""
    here = Path(__file__).parent
    with (here / "rfc-support.toml").open("rb") as file:
        rows = tomllib.load(file)["rfc"]
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 10 45 15 30", ""]
    for cells in [("RFC", "Title", "Status", "Note")] + [
        (f":rfc:`{row['number']}`", row["title"], row["status"], row.get("note", "")) for row in rows
    ]:
        lines += [f"   {'* -' if index == 0 else '  -'} {cell}".rstrip() for index, cell in enumerate(cells)]
    build = here / "_build"
    build.mkdir(exist_ok=True)
    (build / "rfc-table.inc").write_text("\n".join(lines) + "\n")


_write_rfc_table()
