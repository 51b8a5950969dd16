METADATA: the entries of Cyrus 3.6 for mailboxes and the server, kept by the mailbox's unique id.
