REPLACE through a frontend puts the new message into a mailbox of whatever server.  DONE of IDLE goes to a backend when that idles: Cyrus does not notice it before.
