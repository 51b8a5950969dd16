``partition_select_mode`` with all its modes, exclusion, soft limit and remembered usage; ``allowusermoves``, ``specialuse_extra`` and ``specialuse_protect`` take effect.
