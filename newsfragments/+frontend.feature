A server can be the frontend of a Murder: IMAP, POP3, LMTP and socket maps for mailboxes that other servers have, Cyrus
3.6 among them.
