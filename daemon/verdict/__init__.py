"""Decide from the end of an attempt what happens to its job."""
