The rows of ``mailboxes.db``, ``quotas.db``, ``mupdate.db`` and ``users.db`` have checksums like those of the others; of damaged ``mupdate.db`` and ``users.db`` what can be read is kept, too.
