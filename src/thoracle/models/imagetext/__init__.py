"""Any encoder's image side with a text encoder."""
