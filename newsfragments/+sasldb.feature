``sasl_pwcheck_method: sasldb``, and ``auxprop`` of it, read what ``saslpasswd2`` wrote, in the forms of Berkeley DB, GNU dbm and LMDB; ``pycyrus user import`` takes its accounts over.
