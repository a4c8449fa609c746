"""SPECTRE, by its authors' package."""
