The annotation ``lastpop`` tells when a POP3 session last began.
