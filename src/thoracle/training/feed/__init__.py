"""Feed training from a cache, and measure how well it is fed."""
