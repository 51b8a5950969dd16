"""The protocol servers, as cyrus.conf names them; each builds its factory from the context."""
