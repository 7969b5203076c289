"""Retention: decide which checkpoints and snapshots to remove, and remove them."""
