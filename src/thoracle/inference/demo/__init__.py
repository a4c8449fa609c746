"""Locate and build the demo's models."""
