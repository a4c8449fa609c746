"""Generate questions and answers about a cohort."""
