"""The chest in a volume: lungs, their box, contrast agent, and whether it is one."""
