With ``mboxlist_db: sql`` the directory of a Murder is in PostgreSQL, and several masters serve it at once; when its primary dies they go on with the standby that was promoted.
