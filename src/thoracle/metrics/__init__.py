"""Metrics as pure functions over arrays: classification, retrieval, text, localization, and bootstrap intervals."""
