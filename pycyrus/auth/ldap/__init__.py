"""LDAP directories: who users are, and which groups they are in."""
