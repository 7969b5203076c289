"""Counts of ``enumerate`` around an iterator that is resumed within its pass.

``for step, batch in enumerate(loop.batches(data))`` counts from 0 in a relaunch as well. Python
gives no way to set the count, which CPython keeps as the first field after the head of the object
(``enumobject`` in ``Objects/enumobject.c``, CPython 3.10 to 3.14).
"""

import ctypes
import gc
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs import code_origin
from rekindle.jobs.journal_writer import log_line

_SIZE: Final = ctypes.sizeof(ctypes.c_ssize_t)


def advance(by: int) -> None:
    """Add to the count of each ``enumerate`` that takes from the generator that calls this.

    Generators of libraries between the two, e.g. of a progress bar, are passed. A count that
    cannot be set is reported.

    Args:
        by: elements that the generator leaves out.
    """
    if not by:
        return
    frames = list(_generators(sys._getframe(1)))
    counts = [found for found in gc.get_objects() if _takes_from(found, frames)]
    if [count for count in counts if not _add(count, by)]:
        log_line(f"A count of enumerate begins at 0 and not at {by}; use loop.step instead.")


def _generators(frame: Any) -> Iterator[types.FrameType]:
    """Yield the frame of the calling generator, and those of libraries that take from it."""
    yield frame
    frame = frame.f_back
    while frame is not None and not code_origin.is_own(frame.f_code.co_filename):
        yield frame
        frame = frame.f_back


def _takes_from(found: Any, frames: list[types.FrameType]) -> bool:
    if type(found) is not enumerate:
        return False
    inner = found.__reduce__()[1][0]
    return isinstance(inner, types.GeneratorType) and any(inner.gi_frame is f for f in frames)


def _add(found: Any, by: int) -> bool:
    count = found.__reduce__()[1][1]
    field = ctypes.c_ssize_t.from_address(id(found) + object.__basicsize__)
    if sys.implementation.name != "cpython" or field.value != count:
        return False
    ctypes.memmove(ctypes.byref(field), ctypes.byref(ctypes.c_ssize_t(count + by)), _SIZE)
    return bool(found.__reduce__()[1][1] == count + by)
