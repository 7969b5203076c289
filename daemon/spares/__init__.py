"""Warm spares of running jobs: which job gets one, and when it is dropped."""
