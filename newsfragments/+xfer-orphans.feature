A user whom a Cyrus server removed, and did not hand over before it died, is taken over when it has told the MUPDATE master.
