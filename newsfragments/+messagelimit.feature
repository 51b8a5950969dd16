``imap_message_limit`` limits the messages that one IMAP command takes on (MESSAGELIMIT).
