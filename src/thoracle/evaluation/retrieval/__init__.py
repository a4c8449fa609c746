"""Evaluate retrieval."""
