A damaged database of subscriptions, seen states, annotations or quotas is made again from the entries that can be read, each with a checksum; before, all of them were lost.
