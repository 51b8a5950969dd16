``sasl_pwcheck_method: NAME@DOMAIN`` asks a checker for users of some domains only.
