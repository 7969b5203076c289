"""Ends of stages: what the script does with a model until its next ``fit``, and their limit."""
