"""The networks, their configurations and their checkpoints; knows nothing of files of scans or of the terminal."""
