"""The version, for whatever writes it into a document or prints it."""

__version__ = "0.1.0"
