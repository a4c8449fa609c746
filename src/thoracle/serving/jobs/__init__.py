"""Run jobs one after the other in worker processes, within limits."""
