"""Ask a server of `thoracle serve`: scans, findings, maps, search and chat."""
