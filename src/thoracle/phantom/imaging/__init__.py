"""Image a phantom: grid, scanner, objects outside."""
