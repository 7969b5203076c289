"""Killing a job on purpose, to see whether its result survives it."""
