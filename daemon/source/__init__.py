"""Take the snapshot of a job's code, and replace it on request."""
