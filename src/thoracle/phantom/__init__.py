"""Synthetic chest CT with findings, masks and reports: the cohort that needs no licence, no download and no torch."""
