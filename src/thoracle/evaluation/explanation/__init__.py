"""Evaluate maps against masks."""
