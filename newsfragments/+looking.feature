``cyr_ls``, ``cyr_dbtool``, ``chk_cyrus``, ``arbitron`` and ``cyr_userseen``.
