SIGHUP takes up changed ``ldap_`` options and files; the keys of TLS session tickets change every day, in all workers at once.
