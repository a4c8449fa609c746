"""Measuring models: metrics over arrays, intervals over patients, named protocols, calibration, pages; never imported by training."""
