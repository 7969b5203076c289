"""The daemon process: its loop, its clock and its shutdown."""
