"""Preprocessing of published encoders, as steps in a fixed order."""
