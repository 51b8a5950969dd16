bin/master starts the server with the flags of Cyrus's master, and returns with -d when every service listens; systemd is told by sd_notify.
