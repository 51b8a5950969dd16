``deliver`` as sendmail's local mailer, and what Postfix's log says when mail does not come, in ``doc/mta.rst``.
