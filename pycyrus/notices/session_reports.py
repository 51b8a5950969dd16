"""What one session tells."""

from __future__ import annotations

from collections.abc import Mapping

from pycyrus.interfaces import SessionFacts
from pycyrus.notices.kinds import Kind
from pycyrus.notices.reporter import Reporter


class SessionReports:
    """
    Tells of one session.

    @ivar user: Who has come in; None for nobody.
    """

    def __init__(self, reporter: Reporter, facts: SessionFacts) -> None:
        self.reporter = reporter
        self.facts = facts
        self.user: str | None = None

    def tell(self, kind: Kind, params: Mapping[str, object]) -> None:
        """Tell what the session did."""
        self.reporter.tell(kind, self.facts, self.user or "", params)
