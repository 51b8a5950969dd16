A directory on a file system that is mounted read-only is told as that at the start.
