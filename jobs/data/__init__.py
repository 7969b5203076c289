"""Data of a training: batches whose position can be saved and restored."""
