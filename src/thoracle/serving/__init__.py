"""Serve scans, findings, maps, search and chat by REST, with one page in front."""
