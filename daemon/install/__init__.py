"""Installing the daemon as a service."""
