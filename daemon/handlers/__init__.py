"""Handlers of the daemon, one for each verb of the command line that writes a request."""
