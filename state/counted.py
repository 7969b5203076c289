"""Write counts and lists in messages."""

from collections.abc import Sequence


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: ``1 job``, ``2 jobs``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def few(names: Sequence[str], most: int) -> str:
    """List the first names and count the others: ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
