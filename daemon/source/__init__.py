"""Take the snapshot of a job's code."""
