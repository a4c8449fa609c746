"""CT-CHAT's projector."""
