"""Keep what is small of the state at the start of an epoch.

A relaunch within an epoch runs the code before the batches once more. With this state it makes the
same data from what it changes: a generator, a key, a list shuffled in place, a rate.
"""

import marshal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict, cast

import numpy as np

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Component
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.capture.tracked_objects import TrackedState
from rekindle.jobs.python_state.component import PythonState
from rekindle.state.run.training_state import TrainingState

MOST_BYTES: Final = 16 * 2**20
"""Most bytes of arrays that are kept: a model in variables of Python is not stored twice."""
_PREFIX: Final = "epoch_start/"

_LONG: Final = 16
"""Fewer items of a list are not compared."""


class Kept(TypedDict):
    """Hold values by path or name, and those that are left as the checkpoint has them.

    Attributes:
        python, state: the JSON of each object, or by how much the one of the checkpoint is longer.
        left: objects whose arrays are too large together.
        arrays: names of arrays that are those of the checkpoint.
    """

    python: dict[str, Any]
    state: dict[str, Any]
    left: list[str]
    arrays: list[str]


class EpochStarts:
    """Keep, and restore, what is small of the state at the starts of epochs.

    Args:
        models: keeps its variables of one number.
        others: components, of which those that follow objects of the script count.
    """

    def __init__(self, models: ModelState, others: Sequence[Component]) -> None:
        self._models = models
        self._state = [one for one in others if isinstance(one, TrackedState)]
        self._python = [one for one in others if isinstance(one, PythonState)]
        # of the state that was captured last, at an end of an epoch; of the epoch that runs
        self._recent: EpochStart | None = None
        self._current: EpochStart | None = None

    def begin(self) -> None:
        """Keep the state before the code of an epoch runs."""
        self._current, self._recent = self._recent, None
        if self._current is None:
            arrays: Tensors = {}
            state: TrainingState = {}
            for component in (*self._state, *self._python):
                state |= component.capture(arrays)
            self._models.capture_numbers(arrays)
            self._current = EpochStart(state, arrays)

    def resume(self, saved: TrainingState, arrays: Tensors) -> None:
        """Restore the state of the start of the epoch of a checkpoint; older ones have none."""
        found = full(saved, arrays)
        if found is None:
            return
        for component in self._state:
            component.restore(*found, lenient=False)
        for one in self._python:
            one.restore_start(*found)
        self._models.restore_numbers(*found)
        self._current = EpochStart(*found)

    def kept(self, state: TrainingState, arrays: Tensors, *, within: bool) -> TrainingState:
        """Return what a checkpoint of a captured state needs of the start of the epoch.

        Args:
            within: steps of the epoch are trained.
        """
        self._recent = None if within else EpochStart(state, arrays)
        if self._current is None or not within:
            return {}
        return self._current.describe(state, arrays)


class EpochStart:
    """Hold the small part of a captured state.

    Args:
        state, arrays: of the start of the epoch.
    """

    def __init__(self, state: TrainingState, arrays: Tensors) -> None:
        python = (state.get("python") or {}).get("changed", {})
        mine = {
            key: array
            for key, array in arrays.items()
            if key.startswith(("python/", "state/")) or _is_number(key, array)
        }
        self._arrays: Tensors = {}
        left = MOST_BYTES
        for key in sorted(mine, key=lambda key: mine[key].nbytes):
            left -= mine[key].nbytes
            if left < 0:
                break
            self._arrays[key] = mine[key].copy()
        lost = mine.keys() - self._arrays.keys()
        self._python = {path: one for path, one in python.items() if not _mentions(one, lost)}
        self._state = {
            name: one for name, one in state.get("state", {}).items() if not _mentions(one, lost)
        }
        self._left = [
            *(state.get("python") or {}).get("own", ()),
            *(path for path in python if path not in self._python),
        ]

    def describe(self, now: TrainingState, arrays: Tensors) -> TrainingState:
        """Put what a checkpoint has not already into ``arrays``; return the JSON of the rest."""
        same = [key for key, array in self._arrays.items() if _is_same(array, arrays.get(key))]
        arrays.update(
            {_PREFIX + key: array for key, array in self._arrays.items() if key not in same}
        )
        changed = (now.get("python") or {}).get("changed", {})
        kept: Kept = {
            "python": {p: _shorter(one, changed.get(p)) for p, one in self._python.items()},
            "state": {n: _shorter(one, now["state"].get(n)) for n, one in self._state.items()},
            "left": self._left,
            "arrays": same,
        }
        return {"epoch_start": cast("dict[str, Any]", kept)}


def full(saved: TrainingState, arrays: Tensors) -> tuple[TrainingState, Tensors] | None:
    """Return state and arrays of the start of the epoch of a checkpoint; None of older ones."""
    found = saved.get("epoch_start")
    if found is None:
        return None
    kept = cast("Kept", found)
    mine = {key: arrays[key] for key in kept["arrays"]}
    mine |= {k.removeprefix(_PREFIX): v for k, v in arrays.items() if k.startswith(_PREFIX)}
    state = saved.copy()
    python = saved.get("python")
    if python:
        changed = python["changed"]
        # an iterator cannot go back
        left = [*kept["left"], *(p for p, one in changed.items() if "iterator" in one["kind"])]
        state["python"] = {
            **python,
            "changed": {p: _longer(one, changed.get(p)) for p, one in kept["python"].items()},
            "own": left,
        }
    ours = saved.get("state", {})
    state["state"] = {n: _longer(one, ours.get(n)) for n, one in kept["state"].items()}
    return state, mine


def _is_number(key: str, array: np.ndarray[Any, Any]) -> bool:
    """Return whether it is a variable of one number: a step, a rate, the sum of a metric."""
    return array.size == 1 and not key.startswith(("seeds/", "random/", "epoch/", "data/"))


def _is_same(array: np.ndarray[Any, Any], now: np.ndarray[Any, Any] | None) -> bool:
    return (
        now is not None
        and (array.dtype, array.shape) == (now.dtype, now.shape)
        and array.tobytes() == now.tobytes()
    )


def _mentions(value: Any, keys: Any) -> bool:
    """Return whether JSON names one of some arrays."""
    return bool(keys) and any(text in keys for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _shorter(one: Any, now: Any) -> dict[str, Any]:
    """Describe a value by that of the checkpoint: the same, the first of a list, or as it is."""
    if _bytes(one) == _bytes(now):
        return {"same": True}
    if isinstance(one, dict) and isinstance(now, dict) and one.keys() == now.keys():
        first, longer = one.get("content"), now.get("content")
        if isinstance(first, list) and isinstance(longer, list) and len(first) > _LONG:
            count = len(first)
            if _bytes(longer[:count]) == _bytes(first):
                return {"first": count, "rest": {k: v for k, v in one.items() if k != "content"}}
    return {"value": one}


def _bytes(value: Any) -> bytes:
    """Return JSON as bytes: True equals 1, and NaN not itself."""
    return marshal.dumps(value, 2)


def _longer(one: dict[str, Any], now: Any) -> Any:
    if "same" in one:
        return now
    if "first" in one:
        return {**one["rest"], "content": now["content"][: one["first"]]}
    return one["value"]
