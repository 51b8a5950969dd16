``disconnect_on_vanished_mailbox`` ends sessions whose mailbox is deleted, ``plaintextloginpause`` makes passwords without TLS take longer, and ``chatty`` and ``commandmintimer`` log commands.
