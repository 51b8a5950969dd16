MUPDATE (RFC 3656): the directory of a Murder, as its master (``cmd="mupdate -m"``).
