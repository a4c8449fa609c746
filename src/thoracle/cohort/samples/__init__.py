"""Feed a prepared cohort to training."""
