"""Finding cases: the record store, vectors, keywords, what fuses them, and a server in place of the file."""
