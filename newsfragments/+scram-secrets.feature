``SCRAM-SHA-256`` and ``SCRAM-SHA-1`` are also offered where passwords are stored as they are.
