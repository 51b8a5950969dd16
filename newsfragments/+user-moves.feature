A user who is renamed or deleted takes along, or loses, subscriptions, seen state, notes and quota together with the mailboxes, wherever a crash interrupts it.
