GSSAPI: logins with Kerberos tickets (``sasl_keytab``; needs ``pycyrus[gssapi]``).
