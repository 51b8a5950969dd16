``sasl_sql_usessl`` demands TLS of the database; MariaDB is tried in the tests.
