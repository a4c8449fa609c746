"""One scan: from a file to Hounsfield units in LPS order, and from there to a model's input."""
