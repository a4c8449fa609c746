"""Evaluate detection."""
