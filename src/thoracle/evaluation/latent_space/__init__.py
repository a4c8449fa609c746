"""Measure latent spaces."""
