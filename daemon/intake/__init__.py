"""The inbox: turn files into accepted jobs and answered requests."""
