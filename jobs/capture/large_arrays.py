"""Large arrays that a callback holds and that nothing changes, e.g. data to validate on.

The script makes them again in each attempt: a checkpoint has their digest in their place.
Those that something has changed since the stage began are state, and saved as all other.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

LARGE: Final = 1 << 20
"""Bytes from which on an attribute is not worth a copy in each checkpoint."""

Constants = dict[tuple[int, str], "Constant"]


@dataclass(frozen=True, slots=True)
class Constant:
    """An attribute as it was when the stage began: no copy, and a digest that tells a change."""

    value: Any
    digest: str

    def is_unchanged(self) -> bool:
        return digest(self.value) == self.digest


def of(callbacks: list[Any]) -> Constants:
    """The large arrays among the callbacks' attributes, by index and name."""
    return {
        (index, name): Constant(value, found)
        for index, callback in enumerate(callbacks)
        for name, value in vars(callback).items()
        if (found := digest(value)) is not None
    }


def digest(value: Any) -> str | None:
    """SHA-256 of an array, or of a tuple or list of arrays; None for all else, and small ones."""
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
