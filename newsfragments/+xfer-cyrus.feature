XFER to Cyrus takes shared mailboxes and annotations of messages along, and no longer replaces a user that is there already.
