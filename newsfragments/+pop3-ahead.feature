A frontend fetches several messages of a POP3 maildrop at once, and hands them on as the client asks for them.
