"""The verbs of the command line: one file for each, with its name."""
