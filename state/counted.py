"""Write counts in messages."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: ``1 job``, ``2 jobs``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
