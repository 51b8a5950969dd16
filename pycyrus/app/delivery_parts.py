"""The parts of delivery, built from the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.logger import Logger

from pycyrus.config.settings import Settings
from pycyrus.delivery.duplicates import Duplicates
from pycyrus.delivery.suppression import DuplicateSuppression
from pycyrus.errors import StoreUnavailable

_log = Logger()


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
