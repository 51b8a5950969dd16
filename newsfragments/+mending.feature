``pycyrus verify`` finds damage beside a running server; ``pycyrus reconstruct`` (``reconstruct``) mends mailboxes and the mailbox list;
damaged databases are set aside at start, and the list is made again from the mailboxes' headers.
