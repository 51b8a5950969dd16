Threads are kept while messages come, as orders are; commands that have to do with very many messages, parts or mailboxes leave other
sessions their turn after a millisecond or two.
