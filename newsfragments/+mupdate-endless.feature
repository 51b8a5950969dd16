A copy of the Murder's directory gives a master up that tells without end, and takes out compressed octets only as fast as it works on them.
