A POP3 or ManageSieve session through a frontend is told when its backend does not answer any more, instead of waiting as long as the backend hangs.
