Logins by LDAP take half the processor time they took; a mistake in an LDAP filter is found at the start.
