"""Questions about the scans of a cohort, with answers: their file, and how they are made of labels, reports and masks."""
