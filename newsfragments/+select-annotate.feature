SELECT (ANNOTATE) is told which annotations others change (RFC 5257).
