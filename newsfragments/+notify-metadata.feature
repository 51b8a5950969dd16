NOTIFY tells of metadata that others set.
