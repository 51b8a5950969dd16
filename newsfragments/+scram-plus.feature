SCRAM-SHA-1-PLUS and SCRAM-SHA-256-PLUS bind logins to the TLS connection with tls-exporter (RFC 9266), and notice when somebody hid them from the client.
