"""Open, quantize and lower weights."""
