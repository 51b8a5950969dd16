"""Mailboxes on disk: journal, columns, files, and the databases beside them."""
