"""Encode words: texts, prompts that are kept, and queries."""
