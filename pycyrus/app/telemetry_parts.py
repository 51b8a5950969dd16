"""What the options say of telemetry."""

from __future__ import annotations

from pathlib import Path

from pycyrus.config.settings import Settings
from pycyrus.net.telemetry import Telemetry


def telemetry(settings: Settings, service: str) -> Telemetry:
    """
    What copies the sessions of users who have a directory for that.

    @param service: With which names of files begin.
    """
    return Telemetry(
        Path(settings.text("configdirectory")) / "log",
        service,
        by_session=settings.switch("telemetry_bysessionid"),
        stamps=settings.switch("logtimestamps"),
    )
