A message is delivered to a mailbox once, by its Message-ID and Date (``duplicatesuppression``), also when processes compete or die; ``cyr_expire -E`` and ``ctl_deliver -d`` work on the record.
