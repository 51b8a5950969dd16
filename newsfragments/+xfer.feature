Users and mailboxes move to other servers, and to and from Cyrus 3.6, by XFER and ``pycyrus xfer``: in two phases, with all that is theirs, whoever is killed meanwhile.
