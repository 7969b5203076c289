"""Check a host before the night."""
