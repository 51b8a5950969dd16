``pycyrus xfer status`` tells of mailboxes that came and wait for a word of the other server.
