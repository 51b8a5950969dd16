"""What the options say of the store's rules: partitions, special uses, moves of users."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger

from pycyrus.app.annotation_parts import annotation_definitions
from pycyrus.app.frontend_parts import is_frontend
from pycyrus.config.settings import Settings
from pycyrus.mime.comparison import Comparison, WhiteSpace
from pycyrus.model.acl_text import BadAcl, parse_default_acl, parse_rights
from pycyrus.model.identity import IMPLICIT_OWNER_RIGHTS
from pycyrus.store.commit import SyncMode
from pycyrus.store.partition_choice import ChoiceSettings, SelectMode
from pycyrus.store.settings import (
    DEFAULT_SEARCH,
    SPECIAL_USES,
    ArchiveSettings,
    DeleteMode,
    ExpungeMode,
    SearchSettings,
    StoreSettings,
)


def store_settings(settings: Settings) -> StoreSettings:
    """What the options say of the store."""
    return StoreSettings(
        configdirectory=Path(settings.text("configdirectory")),
        partitions={name: Path(path) for name, path in settings.family("partition-").items()},
        metapartitions={name: Path(path) for name, path in settings.family("metapartition-").items()},
        archivepartitions={name: Path(path) for name, path in settings.family("archivepartition-").items()},
        archive=archive_settings(settings),
        defaultpartition=settings.text("defaultpartition").lower() or None,
        partition_choice=choice_settings(settings),
        hashimapspool=settings.switch("hashimapspool"),
        fulldirhash=settings.switch("fulldirhash"),
        deletedprefix=settings.text("deletedprefix"),
        delete_mode=DeleteMode(settings.word("delete_mode")),
        expunge_mode=ExpungeMode(settings.word("expunge_mode")),
        default_acl=parse_default_acl(settings.text("defaultacl")),
        anyoneuseracl=settings.switch("anyoneuseracl"),
        # A frontend itself looks whether there is what users subscribe to, here or elsewhere.
        allowallsubscribe=settings.switch("allowallsubscribe") or is_frontend(settings),
        allowusermoves=settings.switch("allowusermoves"),
        special_uses=special_uses(settings),
        protected_uses=frozenset(settings.words("specialuse_protect")),
        childless_uses=frozenset(settings.words("specialuse_nochildren")),
        delete_unsubscribe=settings.switch("delete_unsubscribe"),
        undo_retention=float(settings.duration("undo_retention")),
        journal_sync_interval=float(settings.duration("journal_sync_interval")),
        sync_mode=SyncMode(settings.word("sync_mode")),
        annotations=annotation_definitions(settings),
        feeds_searches=settings.switch("search_feed"),
        search=search_settings(settings),
        most_messages=settings.integer("mailbox_maxmessages_email"),
    )


def archive_settings(settings: Settings) -> ArchiveSettings | None:
    """Which messages go to the archive partition; None if none do."""
    if not settings.switch("archive_enabled"):
        return None
    return ArchiveSettings(
        float(settings.duration("archive_after")),
        settings.integer("archive_maxsize") * 1024,
        settings.switch("archive_keepflagged"),
    )


def search_settings(settings: Settings) -> SearchSettings:
    """How messages are searched."""
    comparison = Comparison(
        skips_diacritics=settings.switch("search_skipdiacrit"),
        white_space=WhiteSpace(settings.word("search_whitespace")),
        skips_markup=settings.switch("search_skiphtml"),
    )
    return SearchSettings(comparison, settings.duration("search_maxtime") or DEFAULT_SEARCH.longest)


def choice_settings(settings: Settings) -> ChoiceSettings:
    """How a partition is chosen for a new mailbox."""
    return ChoiceSettings(
        SelectMode(settings.word("partition_select_mode")),
        frozenset(name.lower() for name in settings.words("partition_select_exclude")),
        settings.integer("partition_select_soft_usage_limit"),
        settings.integer("partition_select_usage_reinit"),
    )


def special_uses(settings: Settings) -> tuple[str, ...]:
    """Attributes that a mailbox may be given; those of an administrator begin with a backslash too."""
    return tuple(dict.fromkeys((*SPECIAL_USES, *settings.words("specialuse_extra"))))


def owner_rights(settings: Settings) -> frozenset[str]:
    """What owners may do with their mailboxes whatever the entries say."""
    text = settings.text("implicit_owner_rights").strip()
    try:
        return parse_rights(text)
    except BadAcl:
        Logger().warn("implicit_owner_rights: {text} are no rights; the default holds", text=text)
        return IMPLICIT_OWNER_RIGHTS


def retentions(settings: Settings) -> tuple[int, int]:
    """How long expunged messages and deleted mailboxes are kept, in seconds."""
    return settings.duration("expunge_retention"), settings.duration("delete_retention")
