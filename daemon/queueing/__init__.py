"""Who runs next, and on what."""
