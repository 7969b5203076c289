"""The ledger of a home, in SQLite."""
