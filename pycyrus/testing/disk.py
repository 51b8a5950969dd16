"""
What may be on a disk after the power was cut.

While a L{Recorder} is installed, every change that the store makes below a
directory is written down, and so is every sync, with its scope.  For any
moment of that record L{Recorder.after_power_cut} builds a directory as a file
system could show it afterwards:

  - What a completed sync covered is there.
  - Of each page of a file some state since then is there, the last write to
    it perhaps torn; a file may be longer than what was written to it, and
    has zeros there.
  - Changes of directories are there up to some moment: of all directories
    alike, as file systems with one journal have it, or of each for itself.

There may be several file systems, each a directory below that one: a sync of one
says nothing of the others, and no name of one can stand for a file of another.
"""

from __future__ import annotations

import enum
import errno
import os
import random
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pycyrus.store import files

PAGES = (512, 4096)
"""Of what a disk writes at once, in octets: a sector, or a page of the system's cache."""
RECORDED = (
    "copy_file_range", "fdatasync", "fsync", "fstat", "ftruncate", "link", "makedirs", "mkdir", "open_file", "pwrite",
    "rename", "rmdir", "stat", "syncfs", "unlink", "write",
)  # fmt: skip
_STATUS = (
    "st_atime", "st_mtime", "st_ctime", "st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blksize", "st_blocks",
    "st_rdev",
)  # fmt: skip
_DEVICES = 1 << 20
"""Added to the number of the device for the first of several file systems."""


@dataclass(slots=True, eq=False)
class Inode:
    """
    A file or directory.

    @ivar device: Which file system it is on, by number.
    @ivar content: Of a file, before anything was recorded.
    @ivar changes: Of a file's octets since then, in order.
    @ivar entries: Of a directory, now.
    """

    is_directory: bool
    device: int
    content: bytes = b""
    changes: list[FileChange] = field(default_factory=list)
    entries: dict[str, Inode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileChange:
    """
    A write, or, where C{data} is None, a truncation.

    @ivar at: The moment.
    @ivar offset: Where the data goes, or the new size.
    """

    at: int
    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Do it."""
        if self.data is None:
            size = self.offset
            content[size:] = bytes(max(0, size - len(content)))
            return
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True, slots=True)
class NameChange:
    """
    A name that went, a name that came, or both at once.

    @ivar inode: What the new name stands for.
    """

    at: int
    gone: tuple[Inode, str] | None
    came: tuple[Inode, str] | None
    inode: Inode

    def directories(self) -> list[Inode]:
        """The directories that change."""
        return [place[0] for place in (self.gone, self.came) if place is not None]


@dataclass(frozen=True, slots=True)
class Sync:
    """
    A sync that returned without an error.

    @ivar inode: What was synced; None for the whole file system.
    @ivar device: The file system.
    """

    begun: int
    ended: int
    inode: Inode | None
    device: int


class Keep(enum.Enum):
    """How much is there of what was not synced."""

    NOTHING = "nothing"
    ALL = "all"
    SOME = "some"


@dataclass(frozen=True, slots=True)
class Loss:
    """
    What a power cut does.

    @ivar names: What is kept of changes of directories.
    @ivar data: What is kept of files' octets.
    @ivar apart: Each directory for itself; otherwise all of them up to one moment, and
        then any sync makes all earlier changes of names durable.
    """

    names: Keep
    data: Keep
    apart: bool = False


class Recorder:
    """
    Writes down what happens below a directory.

    @param root: It must not be written to before the recorder is installed.
    @param several: Each directory below it is a file system of its own.
    @ivar has_several: As C{several}.
    @ivar now: The moment: how many things were written down.
    @ivar syncs: In the order in which they ended.
    """

    def __init__(self, root: Path, *, several: bool = False) -> None:
        self._root = str(root.absolute())
        self._devices: dict[str, int] = (
            {name: number for number, name in enumerate(sorted(files.listdir(root)))} if several else {}
        )
        self.has_several = several
        self._lock = threading.RLock()
        self._originals: dict[str, Any] = {}
        self._by_number: dict[tuple[int, int], Inode] = {}
        self.now = 0
        self.top = self._read(self._root, 0)
        self.base = self._entries_now()
        self.names: list[NameChange] = []
        self.syncs: list[Sync] = []
        self.writes: list[tuple[int, Inode]] = []

    # --- recording --------------------------------------------------------

    def __enter__(self) -> Recorder:
        for name in RECORDED:
            original = getattr(files, name)
            self._originals[name] = original
            wrapped = getattr(self, f"_{name}", None)
            if wrapped is None:
                raise AssertionError(f"{name} is not recorded")
            setattr(files, name, wrapped)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, original in self._originals.items():
            setattr(files, name, original)

    def tick(self) -> int:
        """
        Let a moment pass.

        @return: Its number.
        """
        with self._lock:
            self.now += 1
            return self.now

    def _read(self, path: str, device: int) -> Inode:
        status = os.lstat(path)
        node = self._by_number.get((status.st_dev, status.st_ino))
        if node is not None:
            return node
        if stat.S_ISDIR(status.st_mode):
            node = Inode(True, device)
            devices = self._devices if path == self._root else {}
            node.entries = {
                name: self._read(f"{path}/{name}", devices.get(name, device)) for name in sorted(files.listdir(path))
            }
        else:
            node = Inode(False, device, Path(path).read_bytes())
        self._by_number[status.st_dev, status.st_ino] = node
        return node

    def _entries_now(self) -> dict[int, tuple[Inode, dict[str, Inode]]]:
        return {id(node): (node, dict(node.entries)) for node in self._by_number.values() if node.is_directory}

    def _place(self, path: object) -> tuple[Inode, str] | None:
        """The directory and name of a path; None if it does not lie below the root."""
        text = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type] # noqa: PTH100
        if not text.startswith(self._root + "/"):
            return None
        *above, name = text[len(self._root) + 1 :].split("/")
        node = self.top
        for part in above:
            found = node.entries.get(part)
            if found is None:
                return None
            node = found
        return node, name

    def _of(self, fd: int) -> Inode | None:
        return self._known(os.fstat(fd))

    def _known(self, status: os.stat_result) -> Inode | None:
        return self._by_number.get((status.st_dev, status.st_ino))

    def _fstat(self, fd: int) -> os.stat_result:
        return self._on_device(self._originals["fstat"](fd))

    def _stat(self, path: Any, **options: Any) -> os.stat_result:
        return self._on_device(self._originals["stat"](path, **options))

    def _on_device(self, status: os.stat_result) -> os.stat_result:
        """What a file's status is if its file system is another."""
        node = self._known(status)
        if node is None or not self._devices:
            return status
        numbers = list(status)
        numbers[stat.ST_DEV] += _DEVICES + node.device
        return os.stat_result(numbers, {name: getattr(status, name) for name in _STATUS})

    def _change_names(
        self, gone: tuple[Inode, str] | None, came: tuple[Inode, str] | None, inode: Inode | None = None
    ) -> None:
        if gone is not None:
            inode = gone[0].entries.pop(gone[1])
        assert inode is not None
        if came is not None:
            came[0].entries[came[1]] = inode
        self.names.append(NameChange(self.tick(), gone, came, inode))

    def _change_file(self, node: Inode | None, offset: int, data: bytes | None) -> None:
        if node is not None:
            at = self.tick()
            node.changes.append(FileChange(at, offset, data))
            self.writes.append((at, node))

    def _open_file(self, path: Any, flags: int, mode: int = 0o777) -> int:
        with self._lock:
            place = self._place(path)
            new = place is not None and place[1] not in place[0].entries
            fd: int = self._originals["open_file"](path, flags, mode)
            if place is None:
                return fd
            status = os.fstat(fd)
            if new:
                node = self._by_number[status.st_dev, status.st_ino] = Inode(False, place[0].device)
                self._change_names(None, place, node)
            elif flags & os.O_TRUNC:
                self._change_file(self._by_number[status.st_dev, status.st_ino], 0, None)
            return fd

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        with self._lock:
            done: int = self._originals["pwrite"](fd, data, offset)
            self._change_file(self._of(fd), offset, bytes(memoryview(data)[:done]))
            return done

    def _write(self, fd: int, data: Any) -> int:
        with self._lock:
            offset = os.lseek(fd, 0, os.SEEK_CUR)
            done: int = self._originals["write"](fd, data)
            self._change_file(self._of(fd), offset, bytes(memoryview(data)[:done]))
            return done

    def _copy_file_range(self, source: int, target: int, count: int, offset_src: int, offset_dst: int) -> int:
        with self._lock:
            done: int = self._originals["copy_file_range"](source, target, count, offset_src, offset_dst)
            self._change_file(self._of(target), offset_dst, os.pread(source, done, offset_src))
            return done

    def _ftruncate(self, fd: int, size: int) -> None:
        with self._lock:
            self._originals["ftruncate"](fd, size)
            self._change_file(self._of(fd), size, None)

    def _link(self, source: Any, target: Any, **options: Any) -> None:
        with self._lock:
            old, new = self._places(source, target)
            self._originals["link"](source, target, **options)
            if old is not None and new is not None:
                self._change_names(None, new, old[0].entries[old[1]])

    def _places(self, source: Any, target: Any) -> tuple[tuple[Inode, str] | None, tuple[Inode, str] | None]:
        """The places of a file's two names, which must be on one file system."""
        old, new = self._place(source), self._place(target)
        if old is not None and new is not None and old[0].device != new[0].device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        return old, new

    def _rename(self, source: Any, target: Any) -> None:
        with self._lock:
            old, new = self._places(source, target)
            self._originals["rename"](source, target)
            if old is not None and new is not None:
                self._change_names(old, new)

    def _unlink(self, path: Any) -> None:
        with self._lock:
            place = self._place(path)
            self._originals["unlink"](path)
            if place is not None:
                self._change_names(place, None)

    def _rmdir(self, path: Any) -> None:
        with self._lock:
            place = self._place(path)
            self._originals["rmdir"](path)
            if place is not None:
                self._change_names(place, None)

    def _mkdir(self, path: Any, mode: int = 0o777) -> None:
        with self._lock:
            place = self._place(path)
            self._originals["mkdir"](path, mode)
            if place is not None:
                status = os.lstat(path)
                node = self._by_number[status.st_dev, status.st_ino] = Inode(True, place[0].device)
                self._change_names(None, place, node)

    def _makedirs(self, path: Any, mode: int = 0o777, exist_ok: bool = False) -> None:
        with self._lock:
            target = Path(path)
            if target.is_dir():
                if not exist_ok:
                    raise FileExistsError(str(target))
                return
            if not target.parent.is_dir():
                self._makedirs(target.parent, mode, exist_ok=True)
            self._mkdir(target, mode)

    def _syncfs(self, fd: int) -> None:
        node = self._of(fd)
        if node is not None:
            self._sync(None, node.device)

    def _fsync(self, fd: int) -> None:
        node = self._of(fd)
        if node is not None:
            self._sync(node, node.device)

    _fdatasync = _fsync

    def _sync(self, node: Inode | None, device: int) -> None:
        """A sync takes effect between two moments; the real one would only take time."""
        begun = self.tick()
        if threading.current_thread() is not threading.main_thread():
            # Others go on meanwhile, and what they do is not covered.
            time.sleep(0.0005)
        with self._lock:
            self.syncs.append(Sync(begun, self.tick(), node, device))

    # --- after a power cut ------------------------------------------------

    def after_power_cut(self, cut: int, loss: Loss, draw: random.Random, target: Path) -> None:
        """
        Build what may be there.

        @param cut: The moment; what happened then is the last that did.
        @param target: A directory to be made.
        """
        kept = self._kept_names(cut, loss, draw)
        entries = {key: dict(found) for key, (_node, found) in self.base.items()}
        for change in kept:
            if change.gone is not None:
                entries.setdefault(id(change.gone[0]), {}).pop(change.gone[1], None)
            if change.came is not None:
                entries.setdefault(id(change.came[0]), {})[change.came[1]] = change.inode
        written: dict[int, Path] = {}

        def build(node: Inode, path: Path) -> None:
            path.mkdir(mode=0o700)
            for name, child in entries.get(id(node), {}).items():
                if child.is_directory:
                    build(child, path / name)
                elif id(child) in written:
                    os.link(written[id(child)], path / name)
                else:
                    (path / name).write_bytes(self._kept_octets(child, cut, loss, draw))
                    written[id(child)] = path / name

        build(self.top, target)

    def durable(self, cut: int, node: Inode) -> int:
        """The moment up to which something is on the disk for certain."""
        return max(
            (
                sync.begun
                for sync in self.syncs
                if sync.ended <= cut and (sync.inode is node or (sync.inode is None and sync.device == node.device))
            ),
            default=0,
        )

    def _durable_names_of(self, cut: int, device: int) -> int:
        """The same of the names on a file system with one journal, which any sync writes."""
        return max((sync.begun for sync in self.syncs if sync.ended <= cut and sync.device == device), default=0)

    def _kept_names(self, cut: int, loss: Loss, draw: random.Random) -> Iterator[NameChange]:
        changes = [change for change in self.names if change.at <= cut]
        if loss.names is Keep.ALL:
            return iter(changes)
        if not loss.apart:
            until = {}
            for device in sorted({0, *self._devices.values()}):
                durable = self._durable_names_of(cut, device)
                until[device] = durable if loss.names is Keep.NOTHING else draw.randint(durable, max(cut, durable))
            return (change for change in changes if change.at <= until[change.inode.device])
        must = self._durable_names(changes, cut)
        stopped: set[int] = set()
        kept = []
        for change in changes:
            directories = {id(directory) for directory in change.directories()}
            if change not in must and (
                directories & stopped or loss.names is Keep.NOTHING or draw.random() < 0.3
            ):  # fmt: skip
                stopped |= directories
            else:
                kept.append(change)
        return iter(kept)

    def _durable_names(self, changes: list[NameChange], cut: int) -> set[NameChange]:
        """Those that a sync covers, and those that come before them in the same directories."""
        must: set[NameChange] = set()
        needed: set[int] = set()
        horizon: dict[int, int] = {}
        for change in reversed(changes):
            for directory in change.directories():
                if id(directory) not in horizon:
                    horizon[id(directory)] = self.durable(cut, directory)
            directories = change.directories()
            if any(id(each) in needed or change.at <= horizon[id(each)] for each in directories):
                must.add(change)
                needed.update(id(each) for each in directories)
        return must

    def _kept_octets(self, node: Inode, cut: int, loss: Loss, draw: random.Random) -> bytes:
        changes = [change for change in node.changes if change.at <= cut]
        durable = self.durable(cut, node)
        keep = loss.data
        content = bytearray(node.content)
        _apply(content, (change for change in changes if change.at <= durable))
        late = [change for change in changes if change.at > durable]
        if not late or keep is Keep.NOTHING:
            return bytes(content)
        if keep is Keep.SOME:
            keep = draw.choice((Keep.NOTHING, Keep.ALL, Keep.SOME, Keep.SOME))
        if keep is Keep.ALL:
            _apply(content, late)
        elif keep is Keep.SOME:
            _apply_some(content, late, draw)
        return bytes(content)


def _apply(content: bytearray, changes: Iterable[FileChange]) -> None:
    for change in changes:
        change.apply(content)


def _apply_some(content: bytearray, changes: list[FileChange], draw: random.Random) -> None:
    """Keep a prefix of the writes, or a state of each page."""
    if draw.random() < 0.4:
        count = draw.randint(0, len(changes))
        _apply(content, changes[:count])
        if count < len(changes):
            _tear(content, changes[count], draw)
        return
    cuts = [index + 1 for index, change in enumerate(changes) if change.data is None]
    start = draw.choice([0, *cuts])
    _apply(content, changes[:start])
    writes = changes[start:]
    if cuts and start < cuts[-1]:
        writes = changes[start : next(index for index in cuts if index > start) - 1]
    whole = max((change.offset + len(change.data or b"") for change in writes), default=0)
    size = draw.choice(PAGES)
    for page in sorted({page for change in writes for page in _pages(change, size)}):
        touching = [piece for change in writes if (piece := _within(change, page, size)) is not None]
        count = draw.randint(0, len(touching))
        _apply(content, touching[:count])
        if count < len(touching) and draw.random() < 0.3:
            _tear(content, touching[count], draw, sectors=True)
    if len(content) < whole and draw.random() < 0.15:
        content.extend(bytes(whole - len(content)))


def _pages(change: FileChange, size: int) -> range:
    assert change.data is not None
    return range(change.offset // size, (change.offset + max(len(change.data), 1) - 1) // size + 1)


def _within(change: FileChange, page: int, size: int) -> FileChange | None:
    """The part of a write that falls into a page."""
    assert change.data is not None
    low = max(change.offset, page * size)
    high = min(change.offset + len(change.data), (page + 1) * size)
    if low >= high:
        return None
    return FileChange(change.at, low, change.data[low - change.offset : high - change.offset])


def _tear(content: bytearray, change: FileChange, draw: random.Random, *, sectors: bool = False) -> None:
    """Half of a write, in sectors or, if it is at the end of what was written, not."""
    if change.data:
        size = draw.randint(0, len(change.data))
        if sectors or draw.random() < 0.5:
            size = max(0, (change.offset + size) // 512 * 512 - change.offset)
        FileChange(change.at, change.offset, change.data[:size]).apply(content)
