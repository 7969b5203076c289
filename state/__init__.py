"""Durable state: file names, journal, checkpoints, ledger, job states and errors."""
