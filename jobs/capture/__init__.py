"""Capture and restore the parts of a training state."""
