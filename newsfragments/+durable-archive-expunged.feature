Expunged messages that may still come back go to the archive as others do.
