"""Train chat models."""
