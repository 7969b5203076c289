"""Move jobs to another host."""
