"""Check a home, and rebuild its ledger."""
