"""Keep an index on a Qdrant server."""
