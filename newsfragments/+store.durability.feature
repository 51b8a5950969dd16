Mailboxes on a file system that became read-only can be opened, and read.  A flipped bit in the first page of a database's table costs no other page's
rows.  A rename that was cut short between the directories of a mailbox with a metapartition or an archive is mended although the mailbox list was lost
as well.  CREATE that finds no room for the mailbox list leaves nothing on the partition.
