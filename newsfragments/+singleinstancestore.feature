``singleinstancestore: no`` gives each copy of a delivered message a file of its own.
