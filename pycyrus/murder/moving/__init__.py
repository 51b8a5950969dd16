"""Mailboxes that move from one server to another, whichever way the other one knows."""
