"""Measuring models: tasks, baselines, named protocols, calibration, pages; never imported by training."""
