"""Encode and tokenize reports."""
