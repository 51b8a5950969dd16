"""What a mailbox has ready for searches of texts: joined header forms, and its text log."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger

from pycyrus.mime.comparison import DEFAULT_COMPARISON, Comparison
from pycyrus.mime.text import whole_text
from pycyrus.model.view import CachedItem, View
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.scanning import Breathe, FormsBudget, JoinedForms
from pycyrus.store.textlog import MAX_NEEDLE, NAME, Matches, Text, TextLog, joined
from pycyrus.store.threads import StoreReactor, in_thread

_BLOCK = 250
_TEXTS_AT_ONCE = 64
"""Messages read by a thread before it adds their texts to the log."""
_LONGEST_MESSAGE = 1 << 24
"""Octets; longer ones are left to the search itself, which reads them in pieces."""

_LONGEST_FED = 1 << 21
"""Octets; longer ones are left to searches, for they take much memory."""

_budget = FormsBudget(1 << 28)
"""Of this process."""


class SearchTexts:
    """
    Belongs to the state of one mailbox.

    @ivar comparison: How they are searched.
    """

    log = Logger()

    def __init__(self, paths: MailboxPaths, reactor: StoreReactor, comparison: Comparison = DEFAULT_COMPARISON) -> None:
        self.comparison = comparison
        self._paths = paths
        self._reactor = reactor
        self._forms: dict[CachedItem, JoinedForms] = {}
        self._texts: TextLog | None = None

    def relocate(self, paths: MailboxPaths) -> None:
        """The mailbox's files are elsewhere from now on."""
        self._paths = paths
        self._texts = None

    async def forms(self, view: View, item: CachedItem, breathe: Breathe) -> JoinedForms | None:
        """
        All texts of a header field, of all messages of a view.

        @return: None if they are too long to be kept.
        @raise StoreUnavailable: The cache cannot be read.
        """
        joined_forms = self._forms.setdefault(item, JoinedForms())
        while True:
            # Another search may add to it between two turns.
            start = joined_forms.missing_from(view.uids)
            if start is None:
                del self._forms[item]
                return None
            if start == len(view.uids):
                _budget.note(self, item, len(joined_forms))
                return joined_forms
            stop = min(start + _BLOCK, len(view.uids))
            (texts,) = view.cached(np.arange(start, stop), (item,))
            joined_forms.add(view.uids, [self.comparison.form(text) for text in texts])
            await breathe()

    def forget_forms(self, item: object) -> None:
        """Have the texts of a header field made again when they are needed."""
        self._forms.pop(item, None)  # type: ignore[call-overload] # it was an item when it was noted

    async def matches(
        self,
        needle: str,
        view: View,
        possible: NDArray[np.bool_],
        breathe: Breathe,
        *,
        in_body: bool,
        progress: Callable[[int, int], None] | None = None,
    ) -> Matches:
        """
        Messages of a view that contain a string.

        Texts that are not in the log yet are added first.

        @param needle: Folded; of L{MAX_NEEDLE} characters at most.
        @param in_body: The header does not count.
        @param progress: Told (added, to be added) now and then.
        @raise StoreUnavailable: The cache cannot be read.
        """
        texts = self._log()
        await in_thread(self._reactor, texts.load)
        missing = np.flatnonzero(possible & await in_thread(self._reactor, texts.unknown, view))
        for start in range(0, len(missing), _TEXTS_AT_ONCE):
            block = missing[start : start + _TEXTS_AT_ONCE]
            (items,) = view.cached(block, (CachedItem.SECTIONS,))
            guids = [guid.tobytes() for guid in view.guids[block]]
            await in_thread(self._reactor, self._add, texts, view.uids[block].tolist(), guids, items)
            if progress is not None:
                progress(start + len(block), len(missing))
        if len(missing):
            await in_thread(self._reactor, texts.shrink, view.uids)
        return await texts.matches(needle.encode("utf-8", "replace"), view, breathe, in_body=in_body)

    async def feed(self, view: View, most: int) -> int:
        """
        Add what the messages say that came since this was last done, the oldest first.

        @param most: How many of them at a time.
        @return: How many there still are; 0 as well where the log cannot be written.
        @raise StoreUnavailable: The cache cannot be read.
        """
        texts = self._log()
        fed = await in_thread(self._reactor, texts.fed)
        start = int(view.uids.searchsorted(np.uint32(fed), "right"))
        block = np.arange(start, min(start + most, len(view)))
        if not len(block):
            return 0
        (items,) = view.cached(block, (CachedItem.SECTIONS,))
        uids = view.uids[block].tolist()
        guids = [guid.tobytes() for guid in view.guids[block]]

        def add() -> bool:
            return texts.feed(self._read_texts(uids, guids, items, _LONGEST_FED), uids[-1])

        is_written = await in_thread(self._reactor, add)
        return len(view) - int(block[-1]) - 1 if is_written else 0

    def _log(self) -> TextLog:
        path = str(self._paths.meta / NAME)
        texts = self._texts
        if texts is None or texts.path != path:
            texts = self._texts = TextLog(path, self.comparison.code)
        return texts

    async def keep(self, uids: NDArray[np.uint32]) -> None:
        """Forget what all but these messages said."""
        await in_thread(self._reactor, self._log().keep, uids)

    def _add(self, texts: TextLog, uids: list[int], guids: list[bytes], items: list[bytes]) -> None:
        """Read messages, and add what they say to the log; for a thread."""
        texts.add(self._read_texts(uids, guids, items))

    def _read_texts(
        self, uids: list[int], guids: list[bytes], items: list[bytes], longest: int = _LONGEST_MESSAGE
    ) -> list[Text]:
        """
        What messages say; for a thread.

        @param longest: Octets; longer ones are left out.
        """
        found = []
        for uid, guid, item in zip(uids, guids, items, strict=True):
            try:
                path = Path(self._paths.where(uid))
                if path.stat().st_size > longest:
                    continue
                octets = path.read_bytes()
            except OSError:
                # The search finds out why.
                continue
            if sha1(octets, usedforsecurity=False).digest() != guid:
                # Damaged: what it says now is not to be kept.
                continue
            header, body = whole_text(octets, item, MAX_NEEDLE, self.comparison)
            found.append(Text(uid, guid, header.encode("utf-8", "replace"), joined(body)))
        return found
