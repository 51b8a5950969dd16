Frontends of a Murder speak ManageSieve (``timsieved``): users are referred to, or brought to, the server that has their mailboxes.
