bin/master starts the server with the flags of Cyrus's master, and returns with -d when every service listens; systemd is told by sd_notify.
bin/ has mbpath, mkimap, ctl_mboxlist, ctl_cyrusdb, cyr_info, cyr_df, cyr_buildinfo, ipurge; pycyrus mailbox, acl and explain do and explain what cyradm does.
The proc directory lists sessions, as cyr_info proc prints them.
With auditlog, changes of mailboxes and messages stand in the log as Cyrus writes them.
