"""
C{pycyrus master}, Cyrus's C{master}: the server, started as init scripts start Cyrus.

With C{-d} the command returns when every service listens, or with the exit code of
what failed.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.application.app import startApplication
from twisted.application.service import Application
from twisted.logger import globalLogBeginner, textFileLogObserver

from pycyrus import COMPATIBLE_VERSION, __version__
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.pid_file import PidFile, PidFileTaken
from pycyrus.app.supervisor import READY, VARIABLE
from pycyrus.config.load import Configuration, load
from pycyrus.config.problems import ConfigError

PID_FILE = Path("/run/cyrus-master.pid")
"""Where root's server writes its process id, unless told."""

EX_UNAVAILABLE = 69
EX_OSERR = 71
EX_CONFIG = 78
"""Exit codes of sysexits(3), as Cyrus's master has them."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "master",
        help="run the server, with the flags of Cyrus's master",
        description="Runs the server.  Without -D nothing is written to the terminal once the services listen.",
    )
    parser.add_argument("-p", metavar="FILE", dest="pid_file", type=_path, help=f"pid file ({PID_FILE} for root)")
    parser.add_argument("-l", metavar="N", dest="backlog", type=_positive, help="listen queue backlog")
    parser.add_argument("-d", dest="daemon", action="store_true", help="become a daemon, when every service listens")
    parser.add_argument("-D", dest="keep", action="store_true", help="leave standard streams open, and log to them")
    parser.add_argument("-L", metavar="FILE", dest="error_log", type=_path, help="where standard streams go")
    parser.add_argument("-j", metavar="SECONDS", type=_positive, help="nothing here: children are reaped at once")
    parser.add_argument("-v", dest="verbose", action="store_true", help="log debugging messages too")
    parser.add_argument("-V", action="version", version=f"pycyrus {__version__} (as Cyrus IMAP {COMPATIBLE_VERSION})")
    parser.add_argument("--port-base", metavar="N", type=int, help="for a server without a configuration")
    add_source_options(parser)
    parser.set_defaults(run=run)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """
    Serve until a signal ends it; with C{-d}, until it serves.

    @return: The exit code.
    """
    if arguments.backlog is not None:
        arguments.option.append(f"listen_backlog={arguments.backlog}")
    if arguments.verbose:
        arguments.option.append("debug=yes")
    if arguments.daemon:
        return _daemonise(arguments)
    if os.getpid() != os.getpgrp() and not os.isatty(0):
        # So that all children can be ended as a group; a terminal's belongs to the shell.
        os.setpgid(0, 0)
    return _serve(arguments)


# --- the daemon -------------------------------------------------------------


def _daemonise(arguments: argparse.Namespace) -> int:
    """Fork, and wait for what the child tells; returns in both processes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        # An abstract name: nothing to remove, and the child may be another user by then.
        listening.bind(f"\0pycyrus-master-{os.getpid()}")
        child = os.fork()
        if child:
            return _wait_for(child, listening)
        os.environ[VARIABLE] = f"@pycyrus-master-{os.getppid()}"
    os.setsid()
    os.chdir("/")
    return _serve(arguments)


def _wait_for(child: int, listening: socket.socket) -> int:
    """Wait until the server is ready or has ended."""
    process = os.pidfd_open(child)
    try:
        while True:
            readable, _, _ = select.select([listening.fileno(), process], [], [])
            if listening.fileno() in readable and listening.recv(64) == READY:
                return 0
            if process in readable:
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if code in (0, 1) or code < 0:  # of others it has said why
                    print("master: the server ended before it was ready; its log says why", file=sys.stderr)
                return code if code > 0 else EX_UNAVAILABLE
    finally:
        os.close(process)


# --- the server -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Streams:
    """Where standard streams go once the configuration was found to be good."""

    keep: bool
    error_log: Path | None

    def redirect(self) -> None:
        """Leave the terminal."""
        if self.keep and self.error_log is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        null = os.open(os.devnull, os.O_RDWR)
        out = null
        if self.error_log is not None:
            out = os.open(self.error_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        for fd in {null, out} - {0, 1, 2}:
            os.close(fd)


def _serve(arguments: argparse.Namespace) -> int:
    # Imported late: importing the reactor makes one, and a daemon forks before that.
    from twisted.internet import reactor as installed

    from pycyrus.app.master import Master, prepare

    reactor: Any = installed
    pid_file = arguments.pid_file or (PID_FILE if os.geteuid() == 0 else None)
    streams = _Streams(arguments.keep, arguments.error_log)
    held: PidFile | None = None
    try:
        # First of all: two that start at once must not both try the ports.
        held = None if pid_file is None else PidFile(pid_file)
        prepared = prepare(_configuration(arguments))
    except ConfigError as error:
        for problem in error.problems:
            print(f"master: {problem}", file=sys.stderr)
        if held is not None:
            held.remove()
        return EX_CONFIG
    except PidFileTaken as error:
        print(f"master: another master has {pid_file}: process {error}", file=sys.stderr)
        return EX_OSERR
    except OSError as error:
        print(f"master: {pid_file}: {error.strerror}", file=sys.stderr)
        return EX_OSERR
    streams.redirect()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    application = Application("pycyrus")
    Master(prepared, reactor).setServiceParent(application)
    startApplication(application, False)
    reactor.callWhenRunning(_stop_at_quit, reactor)
    try:
        reactor.run()
    finally:
        if held is not None:
            held.remove()
        _end_group()
    return 0


def _configuration(arguments: argparse.Namespace) -> Configuration:
    """
    What the files say, but that the log goes to syslog where there is no other.

    @raise ConfigError: With all that is wrong.
    """
    source = source_of(arguments, arguments.port_base, serves=True)
    configuration = load(source)
    if arguments.keep or arguments.error_log or configuration.settings.given("log_to_syslog") or source.embedded:
        return configuration
    return load(replace(source, overrides=(*source.overrides, "log_to_syslog=yes")))


def _stop_at_quit(reactor: Any) -> None:
    """SIGQUIT ends Cyrus's master as SIGTERM does."""
    signal.signal(signal.SIGQUIT, lambda number, frame: reactor.callFromThread(reactor.stop))


def _end_group() -> None:
    """End whatever programs of cyrus.conf have left behind in our process group."""
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
