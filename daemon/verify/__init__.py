"""Checking a home, and rebuilding its ledger."""
