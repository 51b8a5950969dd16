``smmapd``: sendmail's and Postfix's socket maps ask whether a recipient exists before mail is accepted.
