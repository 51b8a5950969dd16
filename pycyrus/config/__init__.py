"""imapd.conf and cyrus.conf: syntax, the option table, typed settings."""
