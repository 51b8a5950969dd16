LMTP: BINARYMIME (RFC 3030); binary parts are kept in base64.
