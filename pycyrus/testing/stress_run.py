"""
L{pycyrus.testing.stress} from the command line, with clients of all kinds::

    python -m pycyrus.testing.stress_run --port 10143 --user user --password ... --seconds 60
"""

from __future__ import annotations

import argparse
import sys

from pycyrus.testing.stress import Client, run
from pycyrus.testing.stress_resync import ResyncClient, UidOnlyClient
from pycyrus.testing.stress_wire import TlsAddress

KINDS = (Client, ResyncClient, Client, ResyncClient, UidOnlyClient)


def main() -> int:
    """Run from the command line; exit status 1 after any violation."""
    parser = argparse.ArgumentParser(description="Stress an IMAP server and check what it says.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", action="store_true", help="of the port, from the beginning")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--mailbox", default="INBOX")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    report = run(
        TlsAddress(args.host, args.port) if args.tls else (args.host, args.port), [(args.user, args.password)],
        mailbox=args.mailbox, clients=args.clients, seconds=args.seconds, seed=args.seed, kinds=KINDS,
    )  # fmt: skip
    lines = [f"{sum(report.commands.values())} commands: {report.commands}", f"refused: {report.refused}"]
    lines += report.violations or ["no violation"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
