The annotations ``expire`` and ``delete`` say how long messages and deleted mailboxes are kept (``cyr_expire -a`` ignores them), ``sharedseen`` has all share one seen state.
