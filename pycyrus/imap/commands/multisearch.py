"""ESEARCH: searches in several mailboxes (RFC 7377)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import MailboxNotFound, PermissionDenied, StoreUnavailable
from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.commands.search import BAD_CHARSET, Progress, answer_esearch, demand_charset, find, told_of
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.scopes import mailboxes_of
from pycyrus.imap.wire.esearch import Result, Source, encode_esearch
from pycyrus.imap.wire.search import Return
from pycyrus.model.acl import READ
from pycyrus.model.search import Recent, SearchKey, UidSet, rewritten
from pycyrus.model.uids import LARGEST, SequenceSet

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.multisearch import MultiSearch
    from pycyrus.imap.wire.search import Search
    from pycyrus.interfaces import IMailbox
    from pycyrus.model.mailbox_name import MailboxName


async def esearch(session: Session, command: MultiSearch) -> None:
    """
    Search in several mailboxes, each told by itself if something was found (RFC 7377 section 2.1).

    @raise Bad: The selected mailbox is meant, and there is none; or there may be no charset.
    @raise No: The charset is unknown.
    @raise StoreUnavailable: A mailbox could not be read; the others were searched.
    """
    search = command.search
    demand_charset(session, search)
    if search.key is None:
        raise No(b"Unrecognized character set", BAD_CHARSET)
    selected = session.selected
    here = None
    if command.is_in_selected:
        if selected is None:
            raise Bad(b"Please select a mailbox first")
        here = selected.mailbox.name
        found = await find(session, search)
        source = _source(session, selected.mailbox)
        await answer_esearch(session, search, found, selected.view.uids[found], source=source)
    if search.uses_modseq:
        use_condstore(session)
    trouble: StoreUnavailable | None = None
    for name in await mailboxes_of(session, command.filters):
        if name == here:
            continue
        try:
            await _search_in(session, name, search, search.key)
        except (MailboxNotFound, PermissionDenied):
            # RFC 7377 section 4: as if it were not there.
            continue
        except StoreUnavailable as error:
            session.log.warn("{mailbox} cannot be searched: {error}", mailbox=name, error=error)
            trouble = trouble or error
        await session.drain()
        await session.pause()
    if trouble is not None:
        raise trouble


async def _search_in(session: Session, name: MailboxName, search: Search, key: SearchKey) -> None:
    mailbox = await session.store.open(session.user, name, READ)
    try:
        mailbox.refresh()
        found = await mailbox.search(_without_session(key, mailbox), progress=Progress(session))
        view = mailbox.view()
        positions = np.flatnonzero(np.isin(view.uids, found, assume_unique=True))
        if not len(positions):
            return
        returns = search.returns or frozenset((Return.ALL,))
        part = None if search.partial is None else search.partial.slice_of(len(positions))
        modseq = None
        if search.uses_modseq:
            modseq = int(view.modseqs[told_of(positions, returns, part)].max(initial=0)) or None
        partial = (
            None if part is None or search.partial is None else (search.partial.encode(), view.uids[positions[part]])
        )
        result = Result(view.uids[positions], modseq, partial=partial, source=_source(session, mailbox))
        session.write(encode_esearch(session.tag, result, returns, by_uid=True))
    finally:
        mailbox.close()


def _source(session: Session, mailbox: IMailbox) -> Source:
    return Source(
        session.names.encode(mailbox.name, utf8=session.is_utf8), mailbox.uidvalidity, is_utf8=session.is_utf8
    )


def _without_session(key: SearchKey, mailbox: IMailbox) -> SearchKey:
    r"""Say by UIDs which messages are C{\Recent} in a mailbox that is not selected."""
    recent = UidSet(SequenceSet(((max(mailbox.counts().recent_from, 1), LARGEST - 1),)))
    return rewritten(key, lambda each: recent if isinstance(each, Recent) else each)
