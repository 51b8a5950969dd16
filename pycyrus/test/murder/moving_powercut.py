"""
A user moves from one server to another, and the power goes: at the one, at the other, or at both.

Both servers are in this process, each with a store, databases and disks of its own.  What becomes of all disks is
written down once; then, for a moment of that record, each server is built as it could be found after its own power
was cut, or as it was when its process was killed.  Both are started again, and what is told and asked is gone on with.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from pycyrus.errors import MailboxNotFound, MailStoreError, StoreUnavailable, TransferFailed
from pycyrus.interfaces import Location, NewMessage
from pycyrus.model.flags import FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN, SERVER, Identity
from pycyrus.model.names import inbox_of
from pycyrus.model.quota import Limit
from pycyrus.murder.moving.transfer_link import TransferLink
from pycyrus.murder.moving.transfers import Transfers
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.store import files
from pycyrus.store.incoming import Arrivals
from pycyrus.store.incoming_files import present
from pycyrus.store.outgoing import Departures
from pycyrus.store.settings import DeleteMode, ExpungeMode, StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.store.transfer_log import Outgoing, TransferLog
from pycyrus.test.murder.publishers import DirectPublisher, Master
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.disk import Keep, Loss, Recorder
from pycyrus.testing.powercut import LOSSES, Databases, settings_at
from pycyrus.testing.promises import all_entries, elsewhere, without_syncs

SIDES = ("source", "target")
ADMIN = SERVER
ALICE = Identity("alice")
BOB = Identity("bob")
INBOX = inbox_of(ALICE)
KILLED = Loss(Keep.ALL, Keep.ALL)
"""All is there that was written."""
_ANOTHER_BOOT = b"another start..."


class Direct(TransferLink):
    """What is said between both servers, without a network."""

    def __init__(self, told: Any, transfer_id: str, reactor: BlockingReactor) -> None:
        super().__init__(cast(ImapLink, None), transfer_id, reactor)
        self._told = told
        self._answers: dict[bytes, Any] = {}

    async def _submit(self, step: bytes, *literals: bytes) -> bytes:
        tag = b"%d" % len(self._answers)
        argument, data = (*literals, b"")[:2]
        try:
            answer: Any = await self._told.do(step.decode(), self._id.decode(), argument, data)
        except MailboxNotFound as error:
            answer = MailboxNotFound(str(error))
        except (MailStoreError, OSError) as error:
            answer = TransferFailed(str(error))
        self._answers[tag] = answer
        return tag

    async def _answer(self, tag: bytes) -> dict[str, Any]:
        answer = self._answers[tag]
        if isinstance(answer, Exception):
            raise answer
        return dict(json.loads(answer))

    def close(self) -> None:
        """As at the end of a connection."""
        self._told.leave()


class Told(Master):
    """
    A master whose power stays.

    @ivar states: What it had since each moment.
    """

    def __init__(self, tick: Callable[[], int], known: Mapping[str, Location] | None = None) -> None:
        super().__init__()
        self._locations.update(known or {})
        self._tick = tick
        self.states: list[tuple[int, dict[str, Location]]] = [(0, dict(self._locations))]

    async def activate(self, location: Location) -> None:
        await super().activate(location)
        self.states.append((self._tick(), dict(self._locations)))

    async def deactivate(self, location: Location) -> None:
        await super().deactivate(location)
        self.states.append((self._tick(), dict(self._locations)))

    async def delete(self, mailbox: str) -> None:
        await super().delete(mailbox)
        self.states.append((self._tick(), dict(self._locations)))

    def at(self, cut: int) -> dict[str, Location]:
        """What it had at a moment."""
        return [state for at, state in self.states if at <= cut][-1]


@dataclass(slots=True)
class Machine:
    """One server."""

    name: str
    store: MailStore
    log: TransferLog
    transfers: Transfers
    arrivals: Arrivals


@dataclass(slots=True)
class Pair:
    """Both of them, in one process, and the master."""

    settings: Mapping[str, StoreSettings]
    master: Told | None
    reactor: BlockingReactor = field(default_factory=BlockingReactor)
    machines: dict[str, Machine] = field(default_factory=dict)

    def open(self) -> None:
        """Start them."""
        for side in SIDES:
            store = open_store(self.settings[side], self.reactor)
            parts = store.transfer_parts()
            publisher = None if self.master is None else DirectPublisher(self.master, side, store)
            if publisher is not None:
                store.publish_to(publisher)
            log = TransferLog(parts.settings.configdirectory, self.reactor)
            arrivals = Arrivals(parts, log)
            transfers = Transfers(Departures(parts), arrivals, log, self._dial, side, publisher, self.reactor)
            self.machines[side] = Machine(side, store, log, transfers, arrivals)

    async def _dial(self, transfer: Outgoing) -> Direct:
        other = self.machines.get(transfer.server)
        if other is None:
            raise StoreUnavailable("not there")
        return Direct(other.transfers.intake(ADMIN), transfer.transfer_id, self.reactor)

    def close(self) -> None:
        """Stop them."""
        for machine in self.machines.values():
            machine.transfers.close()
            self.reactor.run(machine.store.close())
        self.machines.clear()

    def go_on(self) -> None:
        """Do what servers do that start."""
        for _ in range(2):
            for machine in self.machines.values():
                self.reactor.run(machine.arrivals.clean())
                machine.transfers._failed_at.clear()
                self.reactor.run(machine.transfers.resume())
                self.reactor.settle()


async def append(store: MailStore, number: int, size: int = 0) -> bytes:
    """
    Have a message come.

    @return: It.
    """
    body = b"Subject: %d\r\n\r\n" % number + b"x" * size
    staged = await store.stage(POSTMAN, INBOX)
    staged.write(body)
    staged.finish()
    opened = await store.open(POSTMAN, INBOX, "p")
    try:
        await opened.append([NewMessage(staged)])
    finally:
        opened.close()
        staged.discard()
    return body


async def furnish(store: MailStore) -> list[bytes]:
    """
    Have what a user may have.

    @return: The messages in the INBOX.
    """
    await store.create(ADMIN, INBOX)
    for path in ("Sent", "Sent.a", "empty", "old"):
        name = INBOX
        for part in path.split("."):
            name = name.child(part)
        await store.create(ALICE, name)
    bodies = [await append(store, number, 700 * number) for number in range(5)]
    await store.delete(ALICE, INBOX.child("old"))
    opened = await store.open(ALICE, INBOX, "r")
    opened.refresh()
    uids = opened.view().uids
    await opened.store(uids[:1], FlagChange(FlagAction.ADD, Flags(FLAGGED | SEEN, (b"work",))))
    opened.close()
    await store.annotate(ALICE, INBOX, {"/private/comment": b"mine"})
    await store.subscribe(ALICE, INBOX.child("Sent"), True)
    await store.set_quota(ADMIN, INBOX, [Limit("STORAGE", 10_000)])
    return bodies


@dataclass(slots=True)
class Recording:
    """
    One move.

    @ivar before: What was there before: a directory for each side.
    @ivar accepted: Messages that came meanwhile, and when that was acknowledged.
    """

    before: Path
    settings: dict[str, StoreSettings]
    recorder: Recorder
    databases: dict[str, Databases]
    master: Told | None
    bodies: list[bytes]
    accepted: list[tuple[int, bytes]]
    offered: set[bytes]


def record(scratch: Path, draw: random.Random) -> Recording:
    """Have a user move, while mail comes."""
    work, before = scratch / "work", scratch / "before"
    settings = {
        side: replace(
            settings_at(work / side, draw),
            journal_sync_interval=0.001,
            delete_mode=DeleteMode.DELAYED,
            expunge_mode=ExpungeMode.DELAYED,
        )
        for side in SIDES
    }
    ticks: list[Callable[[], int]] = [int]

    def tick() -> int:
        return ticks[-1]()

    has_master = draw.random() < 0.7
    with without_syncs():
        pair = Pair(settings, Told(tick) if has_master else None)
        pair.open()
        bodies = pair.reactor.run(furnish(pair.machines["source"].store))
        pair.close()
    shutil.copytree(work, before)
    recorder = Recorder(work, several=True)
    databases = {side: Databases(recorder, work / side) for side in SIDES}
    accepted: list[tuple[int, bytes]] = []
    offered: set[bytes] = set()
    original = TransferLink.send

    async def send(link: TransferLink, packets: Any) -> None:
        if (number := len(accepted)) < 6:
            offered.add(b"Subject: %d\r\n\r\n" % (100 + number) + b"x" * 300)
            with contextlib.suppress(MailStoreError):
                body = await append(pair.machines["source"].store, 100 + number, 300)
                accepted.append((recorder.tick(), body))
        await original(link, packets)

    ticks.append(recorder.tick)
    with contextlib.ExitStack() as stack:
        for each in databases.values():
            stack.enter_context(each.recorded())
        stack.enter_context(recorder)
        stack.enter_context(patch.object(TransferLink, "send", send))
        pair.open()
        source = pair.machines["source"].transfers
        pair.reactor.run(source.move(ADMIN, INBOX, "target", "", lambda moved: None))
        pair.reactor.settle()
        pair.close()
    return Recording(before, settings, recorder, databases, pair.master, bodies, accepted, offered)


def build(recording: Recording, cut: int, losses: Mapping[str, Loss], draw: random.Random, root: Path) -> None:
    """Have both servers be as they may be found."""
    root.mkdir()
    for side in SIDES:
        whole = root / f"whole-{side}"
        recording.recorder.after_power_cut(cut, losses[side], draw, whole)
        shutil.move(whole / side, root / side)
        shutil.rmtree(whole)
        shutil.rmtree(root / side / "config")
        before = recording.before / side / "config"
        recording.databases[side].after_power_cut(cut, draw, root / side / "config", before)


def check(recording: Recording, cut: int, losses: Mapping[str, Loss], draw: random.Random, root: Path) -> str:
    """
    Cut the power, start again, and look.

    @return: Where the user is then.
    @raise AssertionError: A promise was broken; C{root} is left.
    """
    build(recording, cut, losses, draw, root)
    return look(recording, cut, root)


def look(recording: Recording, cut: int, root: Path) -> str:
    """Start, look, start again, and look again."""
    settings = {side: elsewhere(each, root / side) for side, each in recording.settings.items()}
    known = None if recording.master is None else recording.master.at(cut)
    places = set()
    with without_syncs(), patch.object(files, "boot_id", lambda: _ANOTHER_BOOT):
        master = None if known is None else Told(lambda: 0, known)
        for _ in range(2):
            pair = Pair(settings, master)
            pair.open()
            try:
                pair.go_on()
                places.add(_look(pair, recording, cut))
            finally:
                pair.close()
    assert len(places) == 1, f"on {places}, one after the other"
    shutil.rmtree(root)
    return places.pop()


def _look(pair: Pair, recording: Recording, cut: int) -> str:
    where = []
    for side, machine in pair.machines.items():
        entry = machine.store.directory.lookup(INBOX)
        if entry is not None:
            assert not entry.is_leaving, f"held at {side}"
            where.append(side)
        left = machine.log.unfinished()
        assert not left, f"unfinished at {side}: {left}"
        partitions = machine.store.transfer_parts().partitions
        for partition in partitions.names():
            assert not present(partitions, partition), f"left at {side}"
    assert len(where) == 1, f"at {where}"
    (side,) = where
    if pair.master is not None:
        said = pair.master.places
        assert all(place == (side, True) for place in said.values()), f"the master says {said}"
    _look_at(pair.reactor, pair.machines[side].store, recording, cut)
    other = pair.machines[next(each for each in SIDES if each != side)].store
    found = [entry for entry in all_entries(other) if entry.name.owner == "alice"]
    assert not found, f"not only at {side}: {found}"
    return side


def _look_at(reactor: BlockingReactor, store: MailStore, recording: Recording, cut: int) -> None:
    listed = sorted(".".join(entry.name.path) for entry in all_entries(store) if entry.name.owner == "alice")
    assert listed == ["", "Sent", "Sent.a", "empty", "old"], listed
    assert [each.path for each in reactor.run(store.subscriptions(ALICE))] == [("Sent",)]
    assert reactor.run(store.quota(ADMIN, INBOX)).limits == (Limit("STORAGE", 10_000),)
    assert reactor.run(store.annotations(ALICE, INBOX)).get("/private/comment") == b"mine"
    opened = reactor.run(store.open(ALICE, INBOX, "r"))
    try:
        opened.refresh()
        bodies = []
        view = opened.view()
        for uid in view.uids.tolist():
            file = opened.message(uid)
            bodies.append(file.read(0, file.size))
            file.close()
        assert int(view.flags[0]) & (FLAGGED | SEEN) == FLAGGED | SEEN, "flags are lost"
    finally:
        opened.close()
    acknowledged = [body for at, body in recording.accepted if at <= cut]
    assert bodies[: len(recording.bodies)] == recording.bodies, "a message is lost, or another"
    came = bodies[len(recording.bodies) :]
    assert set(acknowledged) <= set(came), "what came meanwhile is lost"
    assert len(set(came)) == len(came) and set(came) <= recording.offered, "what came meanwhile is there twice"


DATABASES = ("transfers.db", "mailboxes.db")


def damage(path: Path, draw: random.Random) -> str:
    """
    Spoil a database.

    @return: How.
    """
    how = draw.choice(("missing", "rubbish", "flipped", "flipped", "flipped"))
    if how == "missing":
        path.unlink()
    elif how == "rubbish":
        path.write_bytes(b"rubbish" * 1000)
    else:
        octets = bytearray(path.read_bytes())
        # Not the number of the version, nor what is not used.
        at = draw.choice([at for at, octet in enumerate(octets) if octet and not 60 <= at < 64])
        octets[at] ^= 1 << draw.randrange(8)
        path.write_bytes(octets)
        how = f"flipped at {at}"
    return how


def some_damage(recording: Recording, scratch: Path, draw: random.Random, rounds: int) -> dict[str, int]:
    """
    Kill both processes at some moments, and spoil one database of one server.

    @return: How often the user was where.
    @raise AssertionError: With the moment.
    """
    found: dict[str, int] = dict.fromkeys(SIDES, 0)
    for number in range(rounds):
        cut = draw.randint(0, recording.recorder.now)
        root, side, name = scratch / f"cut{number}", draw.choice(SIDES), draw.choice(DATABASES)
        build(recording, cut, dict.fromkeys(SIDES, KILLED), draw, root)
        how = ""
        try:
            how = damage(root / side / "config" / name, draw)
            found[look(recording, cut, root)] += 1
        except Exception as error:
            raise AssertionError(f"at {cut}, {name} of the {side} {how}: {error!r}") from error
    return found


def every_moment(scratch: Path, seed: int, *, moments: int | None = None) -> dict[str, int]:
    """
    Record once, and cut the power at many moments, of one or both.

    @param moments: How many, by chance; None for all.
    @return: How often the user was where.
    @raise AssertionError: With the moment.
    """
    draw = random.Random(seed)
    recording = record(scratch, draw)
    cuts = list(range(recording.recorder.now + 1))
    if moments is not None:
        cuts = sorted(draw.sample(cuts, min(moments, len(cuts))))
    found: dict[str, int] = dict.fromkeys(SIDES, 0)
    for number, cut in enumerate(cuts):
        whose = draw.choice(((True, False), (False, True), (True, True)))
        losses = {side: draw.choice(LOSSES) if cuts_it else KILLED for side, cuts_it in zip(SIDES, whose, strict=True)}
        try:
            found[check(recording, cut, losses, draw, scratch / f"cut{number}")] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, at {cut} of {cuts[-1]}, {losses}: {error!r}") from error
    return found
