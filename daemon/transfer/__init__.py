"""Jobs that move to another host."""
