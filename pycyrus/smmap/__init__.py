"""Socket maps: whether a mail transfer agent may accept a recipient."""
