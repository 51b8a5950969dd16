Time: ``pycyrus expire`` (``cyr_expire``) ends what ``expunge_mode: delayed`` and ``delete_mode: delayed`` keep, daily without a configuration;
``pycyrus unexpunge`` brings expunged messages back; ``pycyrus undo MAILBOX --to TIME`` has messages, flags, access and deleted folders as they were.
