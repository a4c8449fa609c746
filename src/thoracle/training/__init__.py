"""Training: configurations, distributed, the step, checkpoints, the trainer; never imported by inference."""
