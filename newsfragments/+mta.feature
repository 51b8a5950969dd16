Samples for Postfix and sendmail in ``conf/mta``, each run by a test; ``deliver`` for agents that run a program.
