"""IMAP of a frontend: each command goes to whoever has the mailbox; what concerns several is joined here."""
