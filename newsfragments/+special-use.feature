``SETMETADATA`` of ``/private/specialuse`` gives mailboxes their special use and takes it away (RFC 6154).
