"""Conversations about scans: with a chat model on this machine, or a server's language model over the detector's findings."""
