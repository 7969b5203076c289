"""The trainer: the process that runs the user's script."""
