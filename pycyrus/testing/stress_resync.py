"""
Clients of L{pycyrus.testing.stress} that synchronise by modseqs: CONDSTORE and QRESYNC (RFC 7162), UIDONLY (RFC 9586).

What they keep across SELECTs they bring up to date by VANISHED (EARLIER) and
FETCH, and then compare with all there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from typing_extensions import override

from pycyrus.testing.stress import FLAGS, Client, expanded

_VANISHED = re.compile(rb"\A\* VANISHED( \(EARLIER\))? ([\d:,]+)\r\n")
_HIGHEST = re.compile(rb"\[HIGHESTMODSEQ (\d+)\]")
_VALIDITY = re.compile(rb"\[UIDVALIDITY (\d+)\]")
_MODSEQ = re.compile(rb"[( ]MODSEQ \((\d+)\)")
_UID_FETCH = re.compile(rb"\A\* (\d+) UIDFETCH \(")
_MODIFIED = re.compile(rb"\[MODIFIED ([\d:,]+)\]")


class ResyncClient(Client):
    """
    A client with a cache.

    @ivar highest: The modseq up to which it knows everything.
    """

    highest = 0
    _heard = 0
    _validity = 0
    _cached: tuple[dict[int, frozenset[bytes]], dict[int, int]] | None = None

    @override
    def _prepare(self, seed: int) -> None:
        super()._prepare(seed)
        self.command(b"ENABLE", b"QRESYNC")

    @override
    def _until(self, tag: bytes) -> tuple[bytes, list[bytes]]:
        """What was heard counts once the command is answered (RFC 7162 section 3.1.2.1)."""
        self._heard = 0
        answer, untagged = super()._until(tag)
        code = _HIGHEST.search(answer)
        self.highest = int(code[1]) if code else max(self.highest, self._heard)
        return answer, untagged

    @override
    def _untagged(self, line: bytes) -> None:
        vanished = _VANISHED.match(line)
        if vanished:
            self._vanished(expanded(vanished[2]), is_earlier=vanished[1] is not None)
            return
        code = _HIGHEST.search(line)
        if code and line.startswith(b"* OK") and self._verb == b"SELECT":
            self.highest = int(code[1])
        validity = _VALIDITY.search(line)
        if validity:
            self._validity = int(validity[1])
        modseq = _MODSEQ.search(line)
        if modseq and not self._is_explicit():
            # Only of what the server tells on its own accord is everything before told as well.
            self._heard = max(self._heard, int(modseq[1]))
        super()._untagged(line)

    def _is_explicit(self) -> bool:
        return self._verb in (b"FETCH", b"UID FETCH", b"SELECT")

    @override
    def _expunge(self, number: int) -> None:
        self._violation(f"EXPUNGE {number} after ENABLE QRESYNC")
        super()._expunge(number)

    def _vanished(self, uids: Sequence[int], *, is_earlier: bool) -> None:
        """One that is known goes with its number; another must have been where UIDs are not known yet."""
        if is_earlier:
            if self._cached is None:
                self._violation("VANISHED (EARLIER), and nobody asked")
                return
            for uid in uids:
                self._cached[0].pop(uid, None)
            return
        if not self._verb.startswith(self.vanishing):
            self._violation(f"VANISHED {uids} is not allowed here")
        for uid in uids:
            place = self._place(uid)
            if place is None:
                self._violation(f"VANISHED {uid}, which was not there")
            else:
                del self.uids[place]
            self._forget(uid)

    def _place(self, uid: int) -> int | None:
        """Where the message is, or may be; None where it cannot be."""
        after = next((at for at, known in enumerate(self.uids) if known is not None and known >= uid), len(self.uids))
        if after < len(self.uids) and self.uids[after] == uid:
            return after
        return after - 1 if after and self.uids[after - 1] is None else None

    @override
    def _learn_flags(self, uid: int, line: bytes) -> None:
        super()._learn_flags(uid, line)
        if b"FLAGS (" in line and not self._is_explicit() and not _MODSEQ.search(line):
            self._violation(f"flags without MODSEQ: {line!r}")
        if self._cached is not None and uid in self.flags:
            self._cached[0][uid] = self.flags[uid]

    @override
    def _fetch(self, number: int, line: bytes) -> None:
        if b"UID " not in line:
            self._violation(f"FETCH without UID after ENABLE QRESYNC: {line[:200]!r}")
        super()._fetch(number, line)

    # --- what it does besides ---

    @override
    def _actions(self) -> Sequence[Callable[[], object]]:
        actions = [*super()._actions(), self._resync, self._resync]
        if not self.uids:
            return actions
        return [*actions, self._store_unchanged, self._changed_since, self._vanished_since]

    def _store_unchanged(self) -> None:
        """UNCHANGEDSINCE what it knows: [MODIFIED] names messages that have changed since."""
        uid = int(self._some_uid())
        modseq = self.modseqs.get(uid)
        if modseq is None:
            return
        flag = self.random.choice(FLAGS)
        answer, _untagged = self.command(b"UID STORE", b"%d (UNCHANGEDSINCE %d) +FLAGS (%b)" % (uid, modseq, flag))
        modified = _MODIFIED.search(answer)
        if modified and uid in self.uids and self.modseqs.get(uid) == modseq:
            self.command(b"UID FETCH", b"%d (FLAGS MODSEQ)" % uid)
            if self.modseqs.get(uid) == modseq:
                self._violation(f"[MODIFIED] of UID {uid}, which still has modseq {modseq}")

    def _changed_since(self) -> None:
        """CHANGEDSINCE tells of later changes only."""
        since = max(self.highest - self.random.randint(0, 20), 1)
        _answer, untagged = self.command(b"UID FETCH", b"1:* (FLAGS) (CHANGEDSINCE %d)" % since)
        for line in untagged:
            modseq = _MODSEQ.search(line)
            if modseq and int(modseq[1]) <= since:
                self._violation(f"not changed since {since}: {line!r}")

    def _vanished_since(self) -> None:
        """VANISHED by FETCH names none that is there (RFC 7162 section 3.2.6)."""
        since = max(self.highest - self.random.randint(0, 20), 1)
        known = {uid for uid in self.uids if uid is not None}
        self._cached = {}, {}
        try:
            _answer, untagged = self.command(b"UID FETCH", b"1:* (FLAGS) (CHANGEDSINCE %d VANISHED)" % since)
        finally:
            self._cached = None
        present = known.intersection(uid for uid in self.uids if uid is not None)
        for line in untagged:
            vanished = _VANISHED.match(line)
            if vanished and vanished[1]:
                still = present.intersection(expanded(vanished[2]))
                # Those that another connection removed meanwhile are told at the next command.
                self.command(b"NOOP")
                still.intersection_update(uid for uid in self.uids if uid is not None)
                if still:
                    self._violation(f"vanished, and still there: {sorted(still)}")

    def _resync(self) -> None:
        """Leave, come back with what is known, and compare with all there is."""
        if not self._is_selected or not self._validity:
            return
        self.command(b"NOOP")
        self.command(b"UID FETCH", b"1:* (FLAGS MODSEQ)")
        if None in self.uids:
            return
        kept = {uid: self.flags[uid] for uid in self.uids if uid in self.flags}
        since, validity = self.highest, self._validity
        if self.random.random() < 0.5:
            self.command(b"UNSELECT")
        self._cached = kept, {}
        try:
            parameters = b"%b (QRESYNC (%d %d))" % (self.mailbox.encode(), validity, since)
            answer, _untagged = self.command(b"SELECT", parameters)
        finally:
            self._cached = None
        if not answer.startswith(b"OK"):
            self._violation(f"SELECT with QRESYNC: {answer!r}")
            return
        self._compare_with_all(kept, since)

    def _compare_with_all(self, kept: dict[int, frozenset[bytes]], since: int) -> None:
        """After SELECT told what has changed since, C{kept} must be what there is at HIGHESTMODSEQ."""
        if len(kept) != len(self.uids):
            self._violation(f"since {since}: {len(self.uids)} messages, and {len(kept)} are known")
            return
        self.uids = [*sorted(kept)]
        self.flags = dict(kept)
        highest = self.highest
        self.command(b"UID FETCH", b"1:* (FLAGS MODSEQ)")
        for uid, flags in kept.items():
            if self.modseqs.get(uid, highest + 1) <= highest and (self.flags.get(uid, flags) ^ flags) - self.private:
                self._violation(
                    f"since {since}: UID {uid} was {sorted(flags)}, and is {sorted(self.flags[uid])} "
                    f"since {self.modseqs[uid]}, before {highest}"
                )


class UidOnlyClient(ResyncClient):
    """A client that has no message numbers."""

    @override
    def _prepare(self, seed: int) -> None:
        super()._prepare(seed)
        self.command(b"ENABLE", b"UIDONLY")

    @override
    def _untagged(self, line: bytes) -> None:
        fetched = _UID_FETCH.match(line)
        if fetched is None:
            super()._untagged(line)
            return
        modseq = _MODSEQ.search(line)
        if modseq and not self._is_explicit():
            self._heard = max(self._heard, int(modseq[1]))
        uid = int(fetched[1])
        if uid not in self.uids:
            if None not in self.uids:
                if self._cached is None:
                    self._violation(f"UIDFETCH of {uid}, and all {len(self.uids)} messages are known")
                return
            self.uids.remove(None)
            self.uids = sorted([*filter(None, self.uids), uid]) + [None] * self.uids.count(None)
        self._learn_flags(uid, line)

    @override
    def _place(self, uid: int) -> int | None:
        wanted = uid if uid in self.uids else None
        return self.uids.index(wanted) if wanted in self.uids else None

    @override
    def _fetch(self, number: int, line: bytes) -> None:
        self._violation(f"FETCH after ENABLE UIDONLY: {line[:200]!r}")

    @override
    def _actions(self) -> Sequence[Callable[[], object]]:
        always: list[Callable[[], object]] = [
            lambda: self.command(b"NOOP"),
            lambda: self.command(b"IDLE"),
            self._append,
            self._resync,
        ]
        if not self.uids:
            return always
        return [
            *always,
            lambda: self.command(b"UID FETCH", b"1:* (FLAGS MODSEQ)"),
            lambda: self.command(b"UID STORE", b"%b +FLAGS (%b)" % (self._some_uid(), self.random.choice(FLAGS))),
            lambda: self.command(b"UID SEARCH", b"RETURN (COUNT ALL) UID 1:*"),
            lambda: self.command(b"EXPUNGE"),
            lambda: self.command(b"UID MOVE", b"%b %b" % (self._some_uid(), self.mailbox.encode())),
            self._replace,
            self._store_unchanged,
            self._changed_since,
            self._vanished_since,
        ]
