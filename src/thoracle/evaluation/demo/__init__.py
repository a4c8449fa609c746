"""Build the page of `thoracle demo`."""
