Quotas (RFC 9208) with Cyrus's names of resources, limits of whole domains, and use that is exact after any crash.
