"""The acceptance list of abuse, held against the whole server; C{doc/abuse-cases.rst} has the table."""
