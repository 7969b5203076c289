"""Proof that a relaunch is exact: round trips, step records, and what they showed."""
