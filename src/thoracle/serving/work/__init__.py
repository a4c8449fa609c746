"""Do in worker processes what the command line does: read, detect, explain, search, answer."""
