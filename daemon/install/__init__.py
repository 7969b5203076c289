"""Install the daemon as a service."""
