Long answers of FETCH through a frontend cost it about a third less processor time: they go from socket to socket without a look at them.
