"""Run a model over many scans."""
