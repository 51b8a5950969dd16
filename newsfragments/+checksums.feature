The rows of ``mailboxes.db``, ``quotas.db``, ``mupdate.db`` and ``users.db`` have checksums like those of the others; of damaged ``mupdate.db`` and ``users.db`` what can be read is kept, too.
So have those of ``deliver.sqlite``: a damaged row never has mail refused as a duplicate, and a damaged file is made again while the server runs.
