"""Digest the data that a loop is given, so that a relaunch can say that it is given other data."""

import zlib
from typing import Any, Final

import numpy as np

from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.keras_compat import internals

_ROWS: Final = 64
_ITEMS: Final = 1024
_WHOLE: Final = 1 << 18


def digest(data: Any) -> str:
    """Digest arrays: small ones as a whole, of others some rows; empty if it is something else."""
    found = 0
    try:
        if isinstance(data, list) and len(data) > _ITEMS:
            found = len(data)
            data = data[:: len(data) // _ITEMS]
        for leaf in internals.flatten(data):
            found = zlib.crc32(_sample(leaf), found)
    except Exception:
        return ""  # of an unknown kind: nothing is compared
    return f"{found:08x}"


def _sample(leaf: Any) -> bytes:
    shape = tuple(getattr(leaf, "shape", ()))
    if shape and getattr(leaf, "nbytes", 0) > _WHOLE:
        step = max(1, shape[0] // _ROWS)
        leaf = leaf[::step]
    array = np.asarray(leaf)
    if array.dtype.hasobject:
        raise TypeError("objects have no digest")
    return f"{array.dtype} {shape}".encode() + array.tobytes()


def difference(then: str, data: Any) -> Caveat | None:
    """Name data that is not that of the attempt that saved.

    Args:
        then: the digest in the checkpoint.
    """
    now = digest(data)
    if not then or not now or then == now:
        return None
    return Caveat(
        "batches() was given other data in the relaunch than before: the code before it made it "
        "from something that was no longer as at the start of the epoch",
        "make the data of an epoch from state=, variables of the loop and random generators, not "
        "from the weights of the model",
    )
