SCRAM-SHA-256-PLUS and SCRAM-SHA-1-PLUS also bind by ``tls-unique`` where a client has TLS 1.2.
