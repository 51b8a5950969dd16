``pycyrus check`` remarks on LDAP servers that do not answer, or do not let the server search.
