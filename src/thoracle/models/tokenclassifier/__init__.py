"""Classifiers on the tokens of any encoder."""
