"""Evaluate report labelers."""
