UNDUMP takes mailboxes from Cyrus servers that have no replication.
