"""Kinds of Python objects: what each holds, its digest, and how it is saved and restored."""
