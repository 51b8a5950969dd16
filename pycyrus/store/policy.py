"""How mailboxes behave."""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.errors import OverQuota
from pycyrus.model.annotations import STANDARD_DEFINITIONS, AnnotationDefinitions


@dataclass(frozen=True, slots=True)
class MailboxPolicy:
    """
    How mailboxes behave.

    @ivar keep_expunged: Files of expunged messages stay until they are purged.
    @ivar wait_for_flags: STORE returns when it is durable.
    @ivar annotations: What may be noted of messages.
    @ivar most_messages: In a mailbox (C{mailbox_maxmessages_email}); 0 for no limit.
    """

    keep_expunged: bool = True
    wait_for_flags: bool = False
    annotations: AnnotationDefinitions = STANDARD_DEFINITIONS
    most_messages: int = 0

    def admit(self, present: int, more: int) -> None:
        """
        Let messages be added to those that are there, or not.

        @raise OverQuota: They would be too many.
        """
        if self.most_messages and present + more > self.most_messages:
            raise OverQuota("messages in the mailbox")


DEFAULT_POLICY = MailboxPolicy()
