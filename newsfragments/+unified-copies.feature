A unified server's COPY and MOVE carry messages between its own mailboxes and those of other servers, and a frontend's APPEND tells TRYCREATE where CREATE would help.
