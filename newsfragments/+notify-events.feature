NOTIFY tells changed annotations, UIDs with flags, mod-sequences with STATUS and `\NoAccess`; SEARCH and SORT take `UPDATE (items)` (RFC 5465).
