"""The parts of delivery, built from the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.logger import Logger

from pycyrus.config.settings import Settings
from pycyrus.delivery.duplicates import Duplicates
from pycyrus.delivery.suppression import DuplicateSuppression
from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IDeliveryObserver
from pycyrus.notices.notifyd import NotifydObserver, NotifydSettings

_log = Logger()


def delivery_observer(settings: Settings, server_name: str) -> IDeliveryObserver | None:
    """Who is told of deliveries; None where nobody wants to know, and nothing is spent on it."""
    mail_method, event_method = settings.text("mailnotifier"), settings.text("event_notifier")
    if "message" not in settings.words("event_groups"):
        event_method = ""
    if not mail_method and not event_method:
        return None
    return NotifydObserver(NotifydSettings(settings.text("notifysocket"), server_name, mail_method, event_method))


def duplicate_suppression(settings: Settings, reactor: Any) -> DuplicateSuppression | None:
    """What keeps a message from being delivered twice; None where that is not wanted, or cannot be done."""
    if not settings.switch("duplicatesuppression"):
        return None
    directory = Path(settings.text("configdirectory"))
    try:
        return DuplicateSuppression(Duplicates(directory, reactor), reactor)
    except StoreUnavailable as error:
        _log.error("duplicatesuppression has no effect: {error}", error=str(error))
        return None
