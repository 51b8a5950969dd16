"""The options by which every verb is told which server it is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycyrus.config.load import DEFAULT_HOME, Source


def add_source_options(parser: argparse.ArgumentParser, *, cyrus_conf_letter: bool = True) -> None:
    """
    Add C{-C}, C{-M}, C{--home} and C{--option}.

    @param cyrus_conf_letter: C{-M} is free for that.
    """
    group = parser.add_argument_group("which server")
    group.add_argument("-C", "--imapd-conf", metavar="FILE", type=_path, help="its imapd.conf")
    names = ["-M", "--cyrus-conf"] if cyrus_conf_letter else ["--cyrus-conf"]
    group.add_argument(*names, metavar="FILE", type=_path, help="its cyrus.conf")
    group.add_argument(
        "--home", metavar="DIR", type=_path, help=f"its directory, if it has no configuration (default {DEFAULT_HOME})"
    )
    group.add_argument(
        "--option", metavar="NAME=VALUE", action="append", default=[], help="set an option of imapd.conf; repeatable"
    )


def source_of(arguments: argparse.Namespace, port_base: int | None = None, *, serves: bool = False) -> Source:
    """
    What these options say.

    @param serves: It is about a server as a whole, which has a cyrus.conf.
    """
    return Source(
        imapd_conf=arguments.imapd_conf,
        cyrus_conf=arguments.cyrus_conf,
        home=arguments.home,
        port_base=port_base,
        overrides=tuple(arguments.option),
        serves=serves,
    )


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
