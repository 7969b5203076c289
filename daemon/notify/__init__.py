"""Tell people what needs them, by apprise or a command: batched, rate-limited, retried."""
