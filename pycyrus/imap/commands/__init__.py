"""One file per verb, and the table that names them."""
