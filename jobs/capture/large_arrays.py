"""Large arrays of callbacks that nothing changes, e.g. validation data.

The script creates them in each attempt, so a checkpoint contains only their digest. An array
that changed since the stage began is state and saved like any other.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

LARGE: Final = 1 << 20
"""Least bytes of an attribute that is not copied into each checkpoint."""

Constants = dict[tuple[int, str], "Constant"]


@dataclass(frozen=True, slots=True)
class Constant:
    """Hold an attribute as of the start of the stage: a reference, and a digest of its value."""

    value: Any
    digest: str

    def is_unchanged(self) -> bool:
        return digest(self.value) == self.digest


def of(callbacks: list[Any]) -> Constants:
    """Find the large arrays among the attributes of callbacks, by index and name."""
    return {
        (index, name): Constant(value, found)
        for index, callback in enumerate(callbacks)
        for name, value in vars(callback).items()
        if (found := digest(value)) is not None
    }


def digest(value: Any) -> str | None:
    """Compute the SHA-256 of a large array, or tuple or list of arrays; None for all else."""
    several = type(value) in (tuple, list)
    arrays = list(value) if several else [value]
    if not all(type(array) is np.ndarray and array.dtype.kind in "biufc" for array in arrays):
        return None
    if sum(array.nbytes for array in arrays) < LARGE:
        return None
    found = hashlib.sha256(type(value).__name__.encode())
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
