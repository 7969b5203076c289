"""Report a night: facts of a period, a summary of them, and its pages."""
