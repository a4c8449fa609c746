"""Keep an index in a folder."""
