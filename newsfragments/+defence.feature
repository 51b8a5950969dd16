Failed logins are counted by all workers together; an account that is guessed at from many addresses stays open to its user; a filter
for fail2ban (``conf/fail2ban``), whose lines are written as Cyrus writes them.
