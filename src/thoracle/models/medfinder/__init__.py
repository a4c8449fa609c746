"""MedFinder."""
