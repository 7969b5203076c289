"""Compose the spec that `submit` drops: from a script, a notebook or a spec file, and options."""
