Delivery: ``X-DeliveredInternalDate`` gives the internal date, as in Cyrus.
