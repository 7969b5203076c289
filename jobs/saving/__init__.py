"""Saving: the checkpoints of a run, when one is due, and the write in the background."""
