``pycyrus murder forget`` frees names at the MUPDATE master that a server claimed which is no more, or all that it had.
