"""Draw the anatomy of a chest."""
