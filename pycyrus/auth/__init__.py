"""Who may come in: cred portal, checkers and SASL mechanisms."""
