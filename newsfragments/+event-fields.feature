Events name mailboxes as Cyrus's do: ``uri`` has the name that administrators see, ``mailboxID`` is the unique id.
