"""What goes between server and client, as its OpenAPI description and both of them have it."""
