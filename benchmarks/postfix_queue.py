"""
A full queue of Postfix, drained: into this server, and into Postfix's own sink, which keeps nothing.

    python benchmarks/postfix_queue.py [messages [users]]

Messages are put into the queue first, while deliveries are deferred; what is measured begins with the first delivery
and ends with the last.  Both are drained by the same Postfix on the same machine: the ratio says how much of the
time is the server's.  Root only, as Postfix is.
"""

from __future__ import annotations

import shutil
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pycyrus.testing.messages import generate
from pycyrus.testing.postfix import DOMAIN, Postfix
from pycyrus.testing.programs import find_program
from pycyrus.testing.server import ServerProcess

SENDERS = 8
PATIENCE = 600.0
HELD = "defer_transports = lmtp\ndefault_process_limit = 100\nsmtpd_client_connection_count_limit = 0\n"


def fill(postfix: Postfix, messages: int, users: list[str]) -> None:
    """Put messages into the queue, on several connections."""
    bodies = list(generate(100))

    def send(first: int) -> None:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=60) as smtp:
            for number in range(first, messages, SENDERS):
                body = b"Message-ID: <%d@queue.test>\r\n" % number + bodies[number % len(bodies)]
                smtp.sendmail("a@example.org", [f"{users[number % len(users)]}@{DOMAIN}"], body)

    threads = [threading.Thread(target=send, args=(first,)) for first in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def watch(postfix: Postfix, messages: int) -> float:
    """Follow the log from the first delivery to the last; asking for the queue would cost too much."""
    deadline = time.monotonic() + PATIENCE
    path = postfix.directory / "log" / "maillog"
    sent, began, at_first = 0, 0.0, 0
    with path.open("rb") as log:
        rest = b""
        while sent < messages:
            if time.monotonic() > deadline:
                raise SystemExit(f"{sent} of {messages} messages were delivered: {postfix.log_tail()}")
            if not sent:
                postfix.flush()
            time.sleep(0.01)
            lines, _, rest = (rest + log.read()).rpartition(b"\n")
            sent += lines.count(b"status=sent")
            if sent and not began:
                began, at_first = time.perf_counter(), sent
    return (messages - at_first) / (time.perf_counter() - began)


def drain(directory: Path, transport: str, messages: int, users: list[str]) -> float:
    """
    Fill a queue and empty it.

    @return: Messages a second.
    """
    postfix = Postfix(directory, transport, HELD)
    postfix.start()
    try:
        fill(postfix, messages, users)
        etc = directory / "etc"
        main = etc / "main.cf"
        main.write_text(main.read_text().replace("defer_transports = lmtp\n", ""))
        subprocess.run([find_program("postfix"), "-c", etc, "reload"], check=True, capture_output=True)
        return watch(postfix, messages)
    finally:
        postfix.stop()


def into_sink(directory: Path, messages: int, users: list[str]) -> float:
    """Drain into smtp-sink; returns messages a second."""
    path = directory / "sink"
    command = [str(find_program("smtp-sink")), "-L", "-u", "postfix", f"unix:{path}", "100"]
    directory.chmod(0o777)
    sink = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return drain(directory / "pf-sink", f"lmtp:unix:{path}", messages, users)
    finally:
        sink.kill()
        sink.wait()


def into_server(directory: Path, messages: int, users: list[str]) -> float:
    """Drain into a server of our own; returns messages a second."""
    server = ServerProcess(directory, "--workers", "2")
    server.start()
    try:
        for user in users:
            server.add_user(user, "secret")
        return drain(directory / "pf", f"lmtp:unix:{server.socket('lmtpunix')}", messages, users)
    finally:
        server.stop()


def main() -> None:
    """Measure and print."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    users = [f"u{number}" for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 20)]
    directory = Path(tempfile.mkdtemp(prefix="pyc-"))
    directory.chmod(0o755)
    try:
        sink = into_sink(directory, messages, users)
        print(f"smtp-sink  {sink:7.0f} messages/s", flush=True)
        ours = into_server(directory, messages, users)
        print(f"pycyrus    {ours:7.0f} messages/s  {ours / sink:4.2f} of the sink's")
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
