"""IMAP as a service: C{cmd="imapd"}, or C{cmd="imapd -s"} for TLS from the beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.internet.interfaces import IProtocolFactory

from pycyrus.app.context import Context
from pycyrus.config.settings import Settings
from pycyrus.imap.command_log import CommandLog
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.settings import ImapSettings, ListingRules, QuotaWarnings, ServerInfo
from pycyrus.imap.wire.frames import FrameLimits
from pycyrus.model.scopes import Namespace


def make_factory(context: Context, name: str, arguments: Sequence[str]) -> IProtocolFactory:
    """Build the factory for one SERVICES entry."""
    settings = context.settings.for_service(name)
    # Where TLS begins at once there is nothing left to start.
    tls = None if "-s" in arguments else context.tls.optional(settings)
    frontend = context.frontend()
    return ImapFactory(
        context.store,
        context.authenticator(settings, "imapd"),
        imap_settings(settings, name, context.server_name),
        context.names,
        context.limits(settings, "imapd"),
        tls,
        context.reactor,
        None if frontend is None else frontend.imap,
        context.watcher,
        context.transfers(),
    )


def _command_log(settings: Settings) -> CommandLog | None:
    slow = float(settings.duration("commandmintimer")) if settings.given("commandmintimer") else None
    each = settings.switch("chatty")
    return CommandLog(each, slow) if each or slow is not None else None


def imap_settings(settings: Settings, name: str, server_name: str) -> ImapSettings:
    """What the options say of an IMAP service."""
    command = settings.integer("maxargssize") or settings.integer("imap_command_size")
    literal = settings.integer("maxliteral") or command
    return ImapSettings(
        server_name=server_name,
        service=name,
        server_info=ServerInfo(settings.word("serverinfo")),
        is_id_answered=settings.switch("imapidresponse"),
        login_timeout=float(settings.duration("login_timeout")),
        timeout=float(settings.duration("timeout")),
        idle_timeout=float(settings.duration("imapidletimeout")),
        is_idle_offered=settings.duration("imapidlepoll") != 0,
        before_login=FrameLimits(
            line=settings.integer("unauthenticated_line"),
            literal=4096,
            literals=4,
            command=settings.integer("unauthenticated_line") + 4 * 4096,
            discard=65_536,
        ),
        limits=FrameLimits(
            line=settings.integer("imap_line"),
            literal=literal,
            literals=settings.integer("imap_literals"),
            command=command,
        ),
        max_message_size=settings.integer("maxmessagesize"),
        is_literal_minus=settings.switch("literalminus"),
        max_bad_commands=settings.integer("unauthenticated_errors"),
        max_commands_before_login=settings.integer("unauthenticated_commands"),
        read_ahead=settings.integer("imap_read_ahead"),
        mupdate_server=settings.text("mupdate_server"),
        suppressed_capabilities=_suppressed(settings),
        listing=ListingRules(
            frozenset(_hidden(settings)),
            is_star_personal=settings.switch("foolstupidclients"),
            ignores_reference=settings.switch("ignorereference"),
            always_tells_uses=settings.switch("specialusealways"),
        ),
        plaintext_alert=settings.text("plaintextloginalert"),
        plaintext_pause=float(settings.duration("plaintextloginpause")),
        expunges_when_left=settings.switch("autoexpunge"),
        leaves_vanished=settings.switch("disconnect_on_vanished_mailbox"),
        command_log=_command_log(settings),
        delete_right=settings.text("deleteright").strip(),
        is_setacl_allowed=settings.switch("allowsetacl"),
        is_read_only=settings.switch("readonly"),
        message_limit=settings.integer("imap_message_limit"),
        quota_warnings=QuotaWarnings(
            settings.integer("quotawarn"), settings.integer("quotawarnkb"), settings.integer("quotawarnmsg")
        ),
    )


def _suppressed(settings: Settings) -> frozenset[str]:
    words = {word.upper() for word in settings.words("suppress_capabilities")}
    return frozenset(words | ({"MAILBOX-REFERRALS"} if settings.switch("proxyd_disable_mailbox_referrals") else set()))


def _hidden(settings: Settings) -> Iterator[Namespace]:
    """Namespaces that users do not see."""
    if settings.switch("disable_user_namespace"):
        yield Namespace.OTHER
    if settings.switch("disable_shared_namespace"):
        yield Namespace.SHARED
