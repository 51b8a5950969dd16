As in Cyrus, administrators delete a mailbox only after they gave themselves right ``x``, as by ``sam user/fred admin c``; the tools of the server need no entry.
