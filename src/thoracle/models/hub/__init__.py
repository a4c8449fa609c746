"""List and download published files."""
