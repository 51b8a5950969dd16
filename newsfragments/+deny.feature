``pycyrus deny`` (``bin/cyr_deny``) denies users services, or allows them again.
