``XFER partition server`` and ``pycyrus xfer partition`` move all that is on a partition to another server.
