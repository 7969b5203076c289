"""One job: its spec, its keeper and its trainer."""
