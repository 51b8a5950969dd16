SORT, THREAD and ESORT; searches of headers and texts run over joined texts of a mailbox, which are made ready once.
