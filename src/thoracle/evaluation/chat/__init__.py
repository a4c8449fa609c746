"""Evaluate chat models."""
