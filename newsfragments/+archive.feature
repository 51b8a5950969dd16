Old and large messages can be moved to an archive partition (``archive_enabled``, ``archivepartition-NAME``, ``archive_after``,
``archive_maxsize``, ``archive_keepflagged``, ``cyr_expire -A``).  Partitions are known by a mark, so an empty mount point is not taken
for a partition that lost its mail.
