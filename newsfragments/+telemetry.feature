Telemetry: sessions of users who have a directory ``log/USER`` below ``configdirectory`` are copied to files there, as in Cyrus.
