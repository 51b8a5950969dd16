``RENAME mailbox mailbox partition`` (cyradm's ``renm``) moves mailboxes with their inferiors to another partition while they are in use; sessions go on where they were.
