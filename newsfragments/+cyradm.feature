Every command of ``cyradm`` works, ``reconstruct``, ``lm -specialuse`` and ``setquota`` with several limits among them.
