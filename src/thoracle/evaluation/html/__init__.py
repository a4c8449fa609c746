"""Draw pages and plots."""
