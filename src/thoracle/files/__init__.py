"""Write and read files that survive a kill, for every room."""
