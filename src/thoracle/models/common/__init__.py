"""Share losses, layers and size inference between families."""
