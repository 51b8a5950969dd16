Two servers that are given the same partition by mistake: the second says so and does not start, whatever its configdirectory.
