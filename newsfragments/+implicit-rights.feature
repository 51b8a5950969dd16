``implicit_owner_rights`` and ``acl_admin_implies_write`` take effect.
