SASL: CRAM-MD5, DIGEST-MD5, ANONYMOUS and POP3's APOP where the site asks for them, ``loginuseacl``, ``user_deny.db``, and one
exchange for all protocols.
