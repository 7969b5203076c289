"""The snapshot of a job's code."""
