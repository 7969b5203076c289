"""Attempts of all jobs: start, watch, stop and settle them."""
