"""Find the first difference of two JSON values."""

import json
from typing import Any


def first_difference(
    ours: Any, theirs: Any, path: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], str, str] | None:
    """Find the first difference of two JSON values: its path and both values, shortened."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            found = first_difference(ours.get(key), theirs.get(key), (*path, str(key)))
            if found is not None:
                return found
        return None
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (mine, others) in enumerate(zip(ours, theirs, strict=True)):
            found = first_difference(mine, others, (*path, str(index)))
            if found is not None:
                return found
        return None
    if ours == theirs or (ours != ours and theirs != theirs):  # noqa: PLR0124 - NaN
        return None
    return path, shortened(ours), shortened(theirs)


def shortened(value: Any) -> str:
    """Write a value as JSON of at most 40 characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
