"""COLIPRI."""
