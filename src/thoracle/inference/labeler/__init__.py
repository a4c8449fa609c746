"""Reports to the 18 labels, each with its evidence."""
