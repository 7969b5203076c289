"""Recognize readings of a clock: another attempt has others, which are no state."""

import time
from typing import Any, Final

_WITHIN_S: Final = 30 * 86400
_CLOCKS: Final = (time.time, time.monotonic, time.perf_counter)


def is_reading(value: Any) -> bool:
    """Return whether a number is a recent reading of a clock, in seconds or nanoseconds."""
    if type(value) not in (int, float) or not value:
        return False
    for clock in _CLOCKS:
        now = clock()
        for scale in (1.0, 1e3, 1e9):
            age = now - value / scale
            fractional = type(value) is float and value != int(value)
            if -60 < age < min(_WITHIN_S, now / 2) and (fractional or value > 1e9):
                return True
    return False
