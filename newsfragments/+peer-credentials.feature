The log tells who connects to the Unix socket of LMTP: user and process, as the kernel says.
