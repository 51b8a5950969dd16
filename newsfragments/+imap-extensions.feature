IMAP: LIST-METADATA (RFC 9590) and searches in several mailboxes at once (MULTISEARCH, RFC 7377).
