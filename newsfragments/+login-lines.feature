The log lines of logins by LMTP, MUPDATE and ManageSieve name who proved itself, where it acts as another user, as those of IMAP and POP3 do.
