"""What the daemon does for each verb of the command line."""
