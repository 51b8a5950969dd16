``pycyrus murder status`` tells how a server stands in its Murder, and ``ctl_mboxlist -m`` (``pycyrus murder push``) has the master know what is here.
