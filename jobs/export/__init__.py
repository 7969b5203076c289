"""The exporter: the process that writes a model in a format of the user's choice."""
