"""The attempts of all jobs: start, watch, stop, and what becomes of a job."""
