``pycyrus murder status`` tells of masters that share a database what each of its servers is, and notices backends that accept connections but say nothing.
