"""CT-CLIP."""
