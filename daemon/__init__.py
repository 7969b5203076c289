"""The service: inbox, queue, retries, ledger and the command line."""
