"""What the store is told by the configuration."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pycyrus.mime.comparison import DEFAULT_COMPARISON, Comparison
from pycyrus.model.acl import Acl
from pycyrus.model.annotations import STANDARD_DEFINITIONS, AnnotationDefinitions
from pycyrus.model.internal_names import DELETED_PREFIX
from pycyrus.store.commit import SyncMode
from pycyrus.store.partition_choice import ChoiceSettings


class DeleteMode(enum.Enum):
    """The option C{delete_mode}: keep deleted mailboxes below C{DELETED} for a time, or not."""

    IMMEDIATE = "immediate"
    DELAYED = "delayed"


class ExpungeMode(enum.Enum):
    """The option C{expunge_mode}: what becomes of the files of expunged messages."""

    IMMEDIATE = "immediate"
    SEMIDELAYED = "semidelayed"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """
    Which messages go to the archive partition.

    @ivar after: C{archive_after}: from what age, in seconds.
    @ivar largest: C{archive_maxsize}: larger ones go at once; in octets.
    @ivar keep_flagged: C{archive_keepflagged}: flagged ones stay, unless they are larger.
    """

    after: float = 7 * 86400.0
    largest: int = 1024 * 1024
    keep_flagged: bool = False


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """
    How messages are searched.

    @ivar comparison: What counts (C{search_skipdiacrit}, C{search_whitespace}, C{search_skiphtml}).
    @ivar longest: C{search_maxtime}: seconds of work in one search.
    """

    comparison: Comparison = DEFAULT_COMPARISON
    longest: float = 60.0


DEFAULT_SEARCH = SearchSettings()

SPECIAL_USES = (r"\Archive", r"\Drafts", r"\Important", r"\Junk", r"\Sent", r"\Trash", r"\Snoozed")
"""Attributes of RFC 6154 that a mailbox may be given, and C{\\Snoozed}."""

PROTECTED_USES = frozenset((r"\Archive", r"\Drafts", r"\Important", r"\Junk", r"\Sent", r"\Trash"))


DEFAULT_CHOICE = ChoiceSettings()
DEFAULT_ACL = Acl((("anyone", frozenset("lrs")),))


@dataclass(frozen=True, slots=True)
class StoreSettings:
    r"""
    Values for L{pycyrus.store.store.open_store}; each is the option of the same name unless said.

    @ivar partitions: Directories by partition name (C{partition-NAME}).
    @ivar metapartitions: Directories for everything but messages, likewise.
    @ivar archivepartitions: Directories of archived messages, likewise.
    @ivar archive: Which messages go there; None for no more (C{archive_enabled}).
    @ivar defaultpartition: Where new mailboxes go; None to choose one.
    @ivar partition_choice: How one is chosen (C{partition_select_mode} and its like).
    @ivar hashimapspool: A level of one-letter directories.
    @ivar mailbox_legacy_dirs: Directories by name, not by unique id.
    @ivar default_acl: C{defaultacl}: of top-level shared mailboxes.
    @ivar special_uses: Attributes that may be given.
    @ivar protected_uses: C{specialuse_protect}: a user's mailbox with one of
        these is deleted by administrators only.
    @ivar childless_uses: C{specialuse_nochildren}: nothing is made below a
        mailbox with one of these.
    @ivar delete_unsubscribe: Owners are not subscribed any more to what is deleted.
    @ivar journal_sync_interval: Seconds until a change of flags is durable.
    @ivar sync_mode: How what was written is made durable.
    @ivar undo_retention: Seconds for which journals keep what happened.
    @ivar annotations: What may be noted of mailboxes, the server and messages
        (C{annotation_definitions}, C{annotation_allow_undefined}).
    @ivar feeds_searches: Texts of messages are made ready for searches soon after
        they came (C{search_feed}).
    @ivar search: How they are searched.
    @ivar most_messages: In a mailbox (C{mailbox_maxmessages_email}); 0 for no limit.
    @ivar open_mailboxes: How many closed mailboxes are kept in memory.
    """

    configdirectory: Path
    partitions: Mapping[str, Path]
    metapartitions: Mapping[str, Path] = field(default_factory=dict)
    archivepartitions: Mapping[str, Path] = field(default_factory=dict)
    archive: ArchiveSettings | None = None
    defaultpartition: str | None = None
    partition_choice: ChoiceSettings = DEFAULT_CHOICE
    hashimapspool: bool = False
    fulldirhash: bool = False
    mailbox_legacy_dirs: bool = True
    deletedprefix: str = DELETED_PREFIX
    delete_mode: DeleteMode = DeleteMode.DELAYED
    expunge_mode: ExpungeMode = ExpungeMode.DELAYED
    default_acl: Acl = DEFAULT_ACL
    allowallsubscribe: bool = False
    allowusermoves: bool = False
    anyoneuseracl: bool = True
    special_uses: tuple[str, ...] = SPECIAL_USES
    protected_uses: frozenset[str] = PROTECTED_USES
    childless_uses: frozenset[str] = frozenset()
    delete_unsubscribe: bool = False
    journal_sync_interval: float = 1.0
    sync_mode: SyncMode = SyncMode.AUTO
    undo_retention: float = 7 * 86400.0
    feeds_searches: bool = False
    search: SearchSettings = DEFAULT_SEARCH
    most_messages: int = 0
    annotations: AnnotationDefinitions = STANDARD_DEFINITIONS
    open_mailboxes: int = 256
