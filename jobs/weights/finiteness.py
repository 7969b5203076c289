"""Finiteness: tell values that are not finite by design from a training that has diverged.

A mask of ``-inf``, a running minimum that begins at infinity, and a buffer whose empty places are
NaN are there when the stage begins. A weight that training makes infinite, and a NaN that was not
there before, mean that it has diverged.
"""

from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]
NonFinite = dict[str, int]
"""Number of NaN that each array may hold; any number of infinities. Others must be finite."""

_SMALL: Final = 4096
"""Most numbers of an array that is judged together with others."""
_EXEMPT: Final = frozenset({"metrics", "plain", "untracked"})
"""Groups of variables that training does not depend on, or that a script owns."""


class Finiteness:
    """Judge the values of variables, from those that the stage began with.

    Args:
        allowed: what an earlier attempt found there.
    """

    def __init__(self, allowed: NonFinite | None = None) -> None:
        self._allowed = allowed

    def allow(self, allowed: NonFinite) -> None:
        """Set what the stage began with, as a checkpoint has it."""
        self._allowed = dict(allowed)

    def judge(self, values: list[tuple[str, Any, Array]]) -> tuple[NonFinite, str | None]:
        """Return what may be non-finite, and the key of the first array that may not.

        Args:
            values: key (``group/index``), variable and value of each.
        """
        finite = _small_finite(values)
        found = {
            key: count
            for key, variable, value in values
            if key not in finite and (count := _nans(value)) >= 0
        }
        if self._allowed is None:
            self._allowed = {
                key: found[key]
                for key, variable, _ in values
                if key in found and (found[key] == 0 or _is_own(key, variable))
            }
        allowed = dict(self._allowed)
        for key, variable, _ in values:
            if found.get(key) == 0 and key not in allowed and _is_own(key, variable):
                allowed[key] = 0  # a script's own layer writes it: a mask that moves
        bad = (key for key, count in found.items() if count > allowed.get(key, -1))
        return allowed, next(bad, None)


def is_exempt(key: str) -> bool:
    """Return whether training does not depend on the variables of this group."""
    return key.partition("/")[0].partition(".")[0] in _EXEMPT


def is_finite(value: Array) -> bool:
    """Return whether all numbers of an array of floats are finite."""
    with np.errstate(all="ignore"):
        # a number that is not finite makes the sum so, and a sum takes a tenth of the time; that of
        # finite ones may overflow
        total = value.sum(dtype=np.float32 if value.dtype.itemsize < 4 else None)
    return bool(np.isfinite(total) or np.isfinite(value).all())


def _small_finite(values: list[tuple[str, Any, Array]]) -> set[str]:
    """Return the keys of small arrays that are finite, of each type where all of them are.

    All at once, since a call of numpy takes longer than the sum of a small array.
    """
    small: dict[np.dtype[Any], list[tuple[str, Array]]] = {}
    for key, _, value in values:
        if value.dtype.kind == "f" and value.size <= _SMALL:
            small.setdefault(value.dtype, []).append((key, value))
    return {
        key
        for found in small.values()
        if is_finite(np.concatenate([value.reshape(-1) for _, value in found]))
        for key, _ in found
    }


def _nans(value: Array) -> int:
    """Count the NaN of an array; -1 if all of it is finite."""
    if value.dtype.kind == "V" and value.dtype.names is None:
        value = value.astype(np.float32)
    if value.dtype.kind not in "fc" or is_finite(value):
        return -1
    return int(np.isnan(value).sum())


def _is_own(key: str, variable: Any) -> bool:
    """Return whether training does not compute the variable by itself: no optimizer, no gradient.

    Statistics of Keras' own layers, e.g. a moving variance, become infinite in a diverging one.
    """
    path = str(getattr(variable, "path", ""))
    computed = path.rpartition("/")[2].startswith("moving_")
    trainable = bool(getattr(variable, "trainable", False))
    return not key.startswith("optimizer") and not trainable and not computed
