"""Export models to smaller or other formats."""
