"""Parse durations, sizes and times of day as people write them in a spec."""

import math
import re
from typing import Final

SECONDS: Final = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
}
BYTES: Final = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_NUMBER_UNIT: Final = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)\s*", re.ASCII)
_WINDOW: Final = re.compile(
    r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)\s*", re.ASCII
)


def seconds(text: str) -> float:
    """Parse a duration: ``"10 min"`` → 600.0.

    Raises:
        ValueError: it is not a positive number with a unit of time.
    """
    value = _with_unit(text, SECONDS, 'a duration such as "30s", "10 min" or "8h"')
    if value <= 0:
        raise ValueError("a duration must be above zero")
    return value


def size(text: str) -> int:
    """Parse a size: ``"16GiB"`` → bytes.

    Raises:
        ValueError: it is not a positive number with a unit of memory.
    """
    value = _with_unit(text, BYTES, 'a size such as "512MiB" or "16GiB"')
    if value < 1:
        raise ValueError("a size must be at least one byte")
    return int(value)


def duration_range(text: str) -> tuple[float, float]:
    """Parse a range of durations: ``"10s..10min"`` → (10.0, 600.0).

    Raises:
        ValueError: it is not a range, or its end is before its start.
    """
    low, mark, high = text.partition("..")
    if not mark:
        raise ValueError('expected a range such as "10s..10min"')
    found = seconds(low), seconds(high)
    if found[0] > found[1]:
        raise ValueError("the end of the range is before its start")
    return found


def window(text: str) -> str:
    """Normalize a window: ``"22:00 - 7:00"`` → ``"22:00-07:00"``.

    Raises:
        ValueError: it is not two times of day, or they are equal.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError('expected two times of day such as "22:00-07:00"')
    start, end = (f"{int(match[i]):02d}:{match[i + 1]}" for i in (1, 3))
    if start == end:
        raise ValueError("the window is empty: both times are equal")
    return f"{start}-{end}"


def _with_unit(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _NUMBER_UNIT.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in units:
        raise ValueError(f"expected {wanted}")
    value = float(match[1]) * units[unit]
    if not math.isfinite(value):
        raise ValueError("the number is too large")
    return value
