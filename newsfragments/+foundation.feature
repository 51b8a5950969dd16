The first server: IMAP4rev1 and the base of IMAP4rev2, LMTP, a journaled mailbox store, a built-in user database, and
Cyrus's ``imapd.conf`` and ``cyrus.conf``, started with ``twistd -n pycyrus``.
