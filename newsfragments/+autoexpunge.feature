The options `autoexpunge` and `mailbox_maxmessages_email` take effect.
