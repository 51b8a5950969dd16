"""Other servers: connections to them, logins there, and who answers at all."""
