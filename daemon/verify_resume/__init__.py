"""Kill a job on purpose, and compare its result with that of an undisturbed run."""
