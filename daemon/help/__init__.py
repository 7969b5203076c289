"""Explain the command line: usage errors, completion, the manual page."""
