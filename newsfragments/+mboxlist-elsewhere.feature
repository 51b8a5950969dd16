``ctl_mboxlist -d`` tells of other servers' mailboxes on frontends and on a Murder's master, and ``-f`` dumps another list.
