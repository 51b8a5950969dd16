"""The Murder's directory: the copy that a server has, and what a server tells the master."""
