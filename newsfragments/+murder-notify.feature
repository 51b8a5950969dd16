A frontend passes ESEARCH in several mailboxes and NOTIFY on to all servers that have one of them, and offers both.
