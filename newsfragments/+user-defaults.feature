Users' LDAP entries may say the quota, the partition and, in a Murder, the server of their new mailboxes (``ldap_quota_attribute``, ``ldap_partition_attribute``, ``ldap_mail_host_attribute``).
