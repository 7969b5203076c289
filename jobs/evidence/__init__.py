"""Evidence of each step, compared with that of the steps that a relaunch repeats."""
