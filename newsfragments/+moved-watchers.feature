Sessions on a frontend whose selected mailbox is moved to another server end with ``BYE``; who watches it by NOTIFY is told ``NOTIFICATIONOVERFLOW`` in place of its deletion.
