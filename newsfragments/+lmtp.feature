LMTP: CHUNKING (BDAT), SMTPUTF8, ``lmtp_exclude_specialuse``; recipients that are refused count towards the limit of a transaction.
