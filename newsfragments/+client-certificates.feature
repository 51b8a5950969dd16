SASL EXTERNAL with a TLS client certificate works in IMAP, POP3 and LMTP: the certificate's common name is the user.
