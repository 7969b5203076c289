"""The demo: train, kill, resume, compare."""
