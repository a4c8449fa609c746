"""Many scans with reports and labels: where a published archive keeps them, splits by patient, a cache, and what training is given."""
