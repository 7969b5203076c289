"""Decide from what an attempt came to what is done with its job."""
