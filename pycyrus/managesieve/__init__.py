"""ManageSieve (RFC 5804): the edge of a frontend, behind which another server has the scripts."""
