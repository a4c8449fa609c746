"""Write reports of phantoms."""
