"""
Cutting the power: C{python -m pycyrus.testing.powercut --rounds N}.

Some clients work on a store, all at a time, while a
L{Recorder<pycyrus.testing.disk.Recorder>} writes down what becomes of the disk.
Then the power is cut at moments of that record, another start of the machine
finds what was left, and L{pycyrus.testing.promises} are looked after.

SQLite's own files are not recorded, for it makes its system calls itself: a
database is taken as it was after the last C{COMMIT} that returned, or, where
one was under way, perhaps as that one left it.  That SQLite keeps this promise
is SQLite's business (write-ahead log, C{synchronous=FULL}).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred

from pycyrus.store import cache_renewal, checkpoint, files, layout, rebuild, recovery, reservations, upkeep
from pycyrus.store.database import Database
from pycyrus.store.settings import ArchiveSettings, DeleteMode, ExpungeMode, StoreSettings
from pycyrus.store.store import open_store
from pycyrus.tasks import gather
from pycyrus.testing.blocking import ThreadedReactor
from pycyrus.testing.clients import INBOX, OTHER, SECOND, Work
from pycyrus.testing.disk import Keep, Loss, Recorder
from pycyrus.testing.promises import Ended, Mark, Marks, Promises

LOSSES = (
    Loss(Keep.NOTHING, Keep.NOTHING),
    Loss(Keep.ALL, Keep.ALL),
    Loss(Keep.ALL, Keep.NOTHING),
    Loss(Keep.ALL, Keep.SOME),
    Loss(Keep.SOME, Keep.SOME),
    Loss(Keep.SOME, Keep.SOME, apart=True),
    Loss(Keep.NOTHING, Keep.ALL, apart=True),
)


def settings_at(root: Path, draw: random.Random) -> StoreSettings:
    """A store in a directory, with some of its options and partitions by chance."""
    disks = root / "disks"
    return StoreSettings(
        root / "config",
        {"default": disks / "spool", SECOND: disks / "second"},
        metapartitions={"default": disks / "meta"} if draw.random() < 0.3 else {},
        archivepartitions={"default": disks / "archive"} if draw.random() < 0.5 else {},
        archive=ArchiveSettings(largest=9000),
        defaultpartition="default",
        delete_mode=draw.choice(list(DeleteMode)),
        expunge_mode=draw.choice([ExpungeMode.IMMEDIATE, ExpungeMode.DELAYED]),
        mailbox_legacy_dirs=draw.random() < 0.8,
        journal_sync_interval=draw.choice([0.001, 0.05]),
        open_mailboxes=draw.choice([1, 256]),
    )


@contextlib.contextmanager
def little_room() -> Iterator[None]:
    """Have reservations end, and snapshots and new journals come, within a few changes."""
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (checkpoint, "SNAPSHOT_TAIL", 600),
            (checkpoint, "COMPACT_FROM", 2500),
            (checkpoint, "COMPACT_RATIO", 1),
            (cache_renewal, "RENEW_FROM", 600),
            (cache_renewal, "RENEW_RATIO", 1),
            (upkeep, "THINK_EVERY", 400),
            *((module, "FIRST_RESERVATION", 3) for module in (layout, recovery, rebuild, reservations)),
            (reservations, "_LARGEST_BLOCK", 3),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield


@dataclass(slots=True)
class Databases:
    """
    What the databases held, and since when.

    @ivar below: Where they are; None for all.
    @ivar commits: The moments before and after each C{COMMIT}, and the octets
        of the file after it.
    """

    recorder: Recorder
    below: Path | None = None
    commits: dict[str, list[tuple[int, int, bytes]]] = field(default_factory=dict)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Write down what is committed."""
        original = Database.transaction

        def transaction(database: Database, change: Callable[..., Any], committed: Any = None) -> Any:
            begun = 0

            def changed(connection: Any) -> Any:
                nonlocal begun
                result = change(connection)
                begun = self.recorder.tick()
                return result

            result = original(database, changed, committed)
            self._took(database, begun)
            return result

        with patch.object(Database, "transaction", transaction):
            yield

    def _took(self, database: Database, begun: int) -> None:
        if self.below is not None and self.below not in database._path.parents:
            return
        octets = database._writer.serialize()
        self.commits.setdefault(database._path.name, []).append((begun, self.recorder.tick(), octets))

    def after_power_cut(self, cut: int, draw: random.Random, target: Path, base: Path) -> None:
        """Build the directory of databases."""
        shutil.copytree(base, target)
        for name, commits in self.commits.items():
            held = [octets for _, ended, octets in commits if ended <= cut]
            under_way = [octets for begun, ended, octets in commits if begun <= cut < ended]
            if under_way and draw.random() < 0.5:
                held = under_way
            if held:
                for rest in target.glob(f"{name}-*"):
                    rest.unlink()
                (target / name).write_bytes(held[-1])


Clients = Callable[[Work], Sequence[Coroutine[Deferred[Any], Any, None]]]
"""What some clients do, side by side."""


@dataclass(slots=True)
class Recording:
    """
    What clients did to a store.

    @ivar base: The directory before.
    @ivar marks: What they began, and what was acknowledged.
    """

    base: Path
    settings: StoreSettings
    recorder: Recorder
    databases: Databases
    marks: list[tuple[int, Mark]]


def record(scratch: Path, draw: random.Random, work: Clients) -> Recording:
    """
    Have clients work on a new store.

    @param scratch: An empty directory.
    @param work: What they do.
    """
    root, base = scratch / "work", scratch / "base"
    settings = settings_at(root, draw)
    reactor = ThreadedReactor()
    store = open_store(settings, reactor)
    inboxes = {name: reactor.run(store.create_inbox(name)) for name in (INBOX, OTHER)}
    reactor.run(store.close())
    shutil.copytree(root, base)
    recorder = Recorder(root / "disks", several=draw.random() < 0.5)
    databases = Databases(recorder)
    marks = Marks(recorder)
    marks.end(0, Ended(created=inboxes))
    each_file = draw.random() < 0.4
    with databases.recorded(), recorder, patch.object(files, "have_syncfs", not each_file):
        stores = [open_store(settings, reactor) for _ in range(draw.choice((1, 2)))]

        async def all_of_it() -> None:
            for outcome in await gather(work(Work(stores, marks, draw))):
                if outcome is not None:
                    outcome.raiseException()

        reactor.run(all_of_it())
        reactor.settle()
        for store in stores:
            reactor.run(store.close())
        reactor.close()
    return Recording(base, settings, recorder, databases, marks.told)


def check_cut(
    recording: Recording,
    promises: Promises,
    cut: int,
    loss: Loss,
    draw: random.Random,
    root: Path,
    *,
    twice: bool = False,
) -> None:
    """
    Cut the power, start the machine again, and look.

    @param root: A directory to be made, and removed if all is well.
    @param twice: Cut the power once more, while the store is being opened.
    @raise AssertionError: A promise was broken; C{root} is left as it was found.
    """
    root.mkdir()
    recording.recorder.after_power_cut(cut, loss, draw, root / "disks")
    recording.databases.after_power_cut(cut, draw, root / "config", recording.base / "config")
    if twice:
        shutil.copytree(root, root / "base")
        recorder = Recorder(root / "disks", several=recording.recorder.has_several)
        databases = Databases(recorder)
        with databases.recorded(), recorder:
            promises.open_all(root, recording.settings)
        shutil.move(root / "disks", root / "first")
        shutil.rmtree(root / "config")
        again = draw.randint(0, recorder.now)
        recorder.after_power_cut(again, draw.choice(LOSSES), draw, root / "disks")
        databases.after_power_cut(again, draw, root / "config", root / "base" / "config")
    promises.look_after(root, recording.settings, cut)
    shutil.rmtree(root)


def every_moment(scratch: Path, seed: int, work: Clients, *, each: int = 2) -> int:
    """
    Record once, and cut the power at every moment, losing this or that.

    @param each: How often at each.
    @return: How often.
    @raise AssertionError: With the moment.
    """
    draw = random.Random(seed)
    recording = record(scratch, draw, work)
    promises = Promises(recording.recorder, recording.marks)
    number = 0
    for cut in range(recording.recorder.now + 1):
        for loss in (LOSSES[3 + cut % 4], LOSSES[cut % 3])[:each]:
            number += 1
            try:
                check_cut(recording, promises, cut, loss, draw, scratch / f"cut{number}")
            except Exception as error:
                raise AssertionError(f"cut {number} at {cut}, {loss}: {error!r}") from error
    return number


def random_round(scratch: Path, seed: int, cuts: int, *, stop: Callable[[str], bool] = lambda broken: True) -> None:
    """
    Record once, and cut the power at some moments.

    @param stop: Whether to stop at a broken promise.
    @raise AssertionError: With the seed.
    """
    draw = random.Random(seed)
    clients = draw.choice((1, 2, 4, 12))
    steps = draw.randint(4, 12) if clients < 4 else draw.randint(3, 6)
    recording = record(scratch, draw, lambda work: [work.client(steps) for _ in range(clients)])
    whole = scratch / "whole"
    recording.recorder.after_power_cut(recording.recorder.now, Loss(Keep.ALL, Keep.ALL), draw, whole)
    compare_trees(scratch / "work" / "disks", whole)
    promises = Promises(recording.recorder, recording.marks)
    for number in range(cuts):
        cut = draw.randint(0, recording.recorder.now)
        loss = draw.choice(LOSSES)
        try:
            check_cut(recording, promises, cut, loss, draw, scratch / f"cut{number}", twice=number % 4 == 3)
        except Exception as error:
            if not stop(str(error)):
                shutil.rmtree(scratch / f"cut{number}")
                continue
            raise AssertionError(f"seed {seed}, cut {number} at {cut}, {loss}: {error!r}") from error


def compare_trees(one: Path, two: Path) -> None:
    """
    See whether everything was recorded.

    @raise AssertionError: Something was not.
    """
    found = [
        {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}
        for root in (one, two)
    ]
    differing = {name for name in found[0].keys() | found[1].keys() if found[0].get(name) != found[1].get(name)}
    if differing:
        raise AssertionError(f"not all of the store's writes were recorded: {sorted(differing)}")


def quick_directory() -> str | None:
    """A file system in memory, if there is one: nothing here waits for a disk, so it need not be one."""
    return next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rounds, and print what they found."""
    parser = argparse.ArgumentParser(prog="python -m pycyrus.testing.powercut", description="Cuts the power.")
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="how often (default 200)")
    parser.add_argument("--cuts", type=int, default=5, metavar="N", help="cuts for each recording (default 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first recording (default 0)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="put what breaks a promise there")
    chosen = parser.parse_args(arguments)
    broken = 0
    recordings = -(-chosen.rounds // chosen.cuts)
    for seed in range(chosen.seed, chosen.seed + recordings):
        scratch = Path(tempfile.mkdtemp(prefix="pycyrus-powercut-", dir=quick_directory()))
        try:
            with little_room():
                random_round(scratch, seed, chosen.cuts)
        except AssertionError as error:
            broken += 1
            sys.stdout.write(f"{error}\n")
            if chosen.keep is not None:
                shutil.copytree(scratch, chosen.keep / str(seed), dirs_exist_ok=True)
        finally:
            shutil.rmtree(scratch)
    sys.stdout.write(f"{recordings * chosen.cuts} cuts in {recordings} recordings, {broken} with a broken promise\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
