"""Run any training task: trainer, optimizer, checkpoints, ranks."""
