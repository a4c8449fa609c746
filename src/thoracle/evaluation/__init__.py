"""Measure models by tasks, baselines, named protocols and calibration, and write pages; training never imports this."""
