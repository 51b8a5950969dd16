A mailbox that is selected again is told at half the cost while nothing happened to it; frontends hand deliveries on in one piece, and pass bodies on in larger ones.
