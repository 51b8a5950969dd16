IMAP: LIST-METADATA (RFC 9590), searches in several mailboxes at once (MULTISEARCH, RFC 7377), and searches whose results are kept up to date (CONTEXT=SEARCH, CONTEXT=SORT, RFC 5267).
