POP3: all of RFC 1939 but APOP, with CAPA, SASL, STLS and UTF8, and the options of Cyrus; one session at a time has a maildrop.
