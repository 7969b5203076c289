"""Compare the restored state with its checkpoint: capture again, array by array.

No step has to be repeated for it, so it also proves a relaunch after SIGTERM. It finds whatever
was restored wrong of what a checkpoint holds; what no checkpoint holds it cannot see.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data.pipeline import shuffles
from rekindle.jobs.weights.device_copies import DeviceCopy
from rekindle.state.json_difference import first_difference

_NOTHING: Final = np.zeros(0)
# they describe the checkpoint or the script, or are checked elsewhere
_NOT_STATE: Final = frozenset(
    {
        *("position", "fingerprint", "versions", "inexact", "epochs"),
        *("files", "folders", "paths", "held", "python", "architecture", "fork"),
        "non_finite",
        "epoch_start",
    }
)
_DATA: Final = frozenset({"iterator", "live", "evals", "draws", "loop", "hidden"})
_GENERATORS: Final = {
    "python": "Python's random generator",
    "numpy": "numpy's random generator",
    "eager": "TensorFlow's eager seed",
}
_GLOBAL_GENERATORS: Final = frozenset({_GENERATORS["python"], _GENERATORS["numpy"]})
_MOST_NAMED: Final = 3
_SMALL: Final = 4096
_PIECE: Final = 1 << 17


class Gap(NamedTuple):
    """Name one value that was not restored.

    Attributes:
        group: model, optimizer, metrics, seeds, callbacks, data or state.
        name: the variable, generator or attribute.
        detail: how much it differs.
    """

    group: str
    name: str
    detail: str

    def __str__(self) -> str:
        """Return both for a person."""
        return f"{self.name} ({self.detail})"


class Comparison(dict[str, Any]):
    """Take the arrays of a capture, and compare each with the checkpoint instead of keeping it.

    Args:
        saved: the arrays of the checkpoint.

    Attributes:
        gaps: how the arrays that differ do so, by key.
    """

    def __init__(self, saved: Tensors) -> None:
        super().__init__()
        self._saved = saved
        self.gaps: dict[str, str] = {}

    def __setitem__(self, key: str, array: np.ndarray[Any, Any]) -> None:
        super().__setitem__(key, _NOTHING)
        self.gaps.pop(key, None)
        if isinstance(array, DeviceCopy):
            array = array.fetched()
        saved = self._saved.get(key)
        detail = "not in the checkpoint" if saved is None else _gap(saved, array)
        if detail is not None:
            self.gaps[key] = detail

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.gaps.pop(key, None)

    def update(self, arrays: Any = (), /, **named: Any) -> None:
        """Compare each of these arrays."""
        for key, array in {**dict(arrays), **named}.items():
            self[key] = array

    def missing(self) -> list[str]:
        """List the keys of the checkpoint that were not captured."""
        return [key for key in self._saved if key not in self]


def gaps(saved: Json, again: Json, arrays: Comparison, *, unchecked: Iterable[str]) -> list[Gap]:
    """List what differs between a checkpoint and the state captured after its restore.

    Args:
        saved, again: their JSON.
        arrays: the arrays of the capture.
        unchecked: how keys of arrays begin that need not be equal.
    """
    # Python state is compared by path, where it is restored
    left_out = (*unchecked, "python/")
    names = _Names(saved)
    found = {
        key: Gap(*names.of(key), detail)
        for key, detail in arrays.gaps.items()
        if not key.startswith(left_out)
    }
    for key in arrays.missing():
        if not key.startswith((*left_out, "seeds/")):  # some generators are used by nothing
            found[key] = Gap(*names.of(key), "not captured")
    again = json.loads(json.dumps(again))
    # several arrays may have one name, of which the first is enough
    named = {(gap.group, gap.name): gap for gap in reversed(found.values())}
    return [*reversed(named.values()), *_json_gaps(saved, again)]


def caveats(checkpoint: str, found: list[Gap]) -> list[Caveat]:
    """Name the first gaps and the number of the others, for receipt and log."""
    if not found:
        return []
    shown, more = ", ".join(map(str, found[:_MOST_NAMED])), len(found) - _MOST_NAMED
    remedy = "report this, with the script: the checkpoint was read correctly"
    if all(gap.group == "callbacks" for gap in found):
        remedy = "give the callback state_dict() and load_state_dict()"
    elif all(gap.name in _GLOBAL_GENERATORS for gap in found):
        # a thread draws from it between restore and comparison
        remedy = (
            "let functions of a data pipeline, and all code in threads, draw from a generator of "
            "their own, numpy.random.default_rng(seed)"
        )
    what = f"The state restored from {checkpoint} is not that of the checkpoint: {shown}"
    return [Caveat(what + (f" and {more} more" if more > 0 else ""), remedy)]


def _gap(saved: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> str | None:
    """Describe how an array differs, bit by bit; None if it does not."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    if saved.shape != array.shape or saved.dtype.itemsize != array.dtype.itemsize:
        return f"{saved.dtype}{list(saved.shape)} and {array.dtype}{list(array.shape)}"
    width = max(array.dtype.itemsize, 1)
    if array.dtype.hasobject or saved.dtype.hasobject:
        return None if np.array_equal(saved, array) else "another value"
    if array.nbytes <= _SMALL and saved.tobytes() == array.tobytes():
        return None  # most arrays of a small model: a comparison by numpy takes 20 times as long
    bits = np.ascontiguousarray(saved).reshape(-1).view(np.uint8)
    ours = array.reshape(-1).view(np.uint8)
    if _equal(bits, ours):
        return None
    differing = (bits != ours).reshape(-1, width).any(axis=1)
    text = f"{int(differing.sum())} of {array.size} elements differ"
    if array.dtype.kind == "f" and saved.dtype == array.dtype:
        with np.errstate(all="ignore"):
            largest = np.abs(saved.astype(np.float64) - array.astype(np.float64)).max()
        text += f", by {largest:.3g} at most"
    return text


def _equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Compare bytes, as words and in pieces whose comparison stays in the cache."""
    if len(one) % 8 == 0 and one.ctypes.data % 8 == 0 and other.ctypes.data % 8 == 0:
        one, other = one.view(np.uint64), other.view(np.uint64)
    return all(
        np.array_equal(one[at : at + _PIECE], other[at : at + _PIECE])
        for at in range(0, len(one), _PIECE)
    )


class _Names:
    """Name arrays for a person by the JSON of their checkpoint."""

    def __init__(self, saved: Json) -> None:
        self._variables = saved.get("variables", {})
        self._callbacks = saved.get("callbacks", [])
        self._seeds = {key: name for _, name, key in saved.get("random", {}).get("seeds", [])}

    def of(self, key: str) -> tuple[str, str]:
        """Return group and name of an array."""
        if key in self._seeds:
            return "seeds", f"seed generator {self._seeds[key]}"
        first, *rest = key.split("/")
        if first in self._variables and rest and rest[0].isdecimal():
            described = self._variables[first]
            index = int(rest[0])
            path = described[index][0] if index < len(described) else key
            group = first.partition(".")[0]
            return ("model" if group == "plain" else group), f"{first} variable {path}"
        if first == "callbacks" and rest and rest[0].isdecimal():
            index = int(rest[0])
            owner = self._callbacks[index][0] if index < len(self._callbacks) else "callback"
            return "callbacks", ".".join([owner, *rest[1:2]])
        if first == "random" and rest:
            return "seeds", _GENERATORS.get(rest[0], key)
        if first in _DATA or first in ("data", "epoch", "live"):
            return "data", "position in the data"
        if first == "python":
            return "callbacks", "an array that callbacks, closures or globals hold"
        if first == "state" and rest:
            return "state", f"state[{rest[0]!r}]"
        return "state", key


def _without_paths(described: Json) -> Json:
    """Return shape and type of each variable."""
    return {group: [entry[1:] for entry in entries] for group, entries in described.items()}


def _json_gaps(saved: Json, again: Json) -> Iterator[Gap]:
    if "loop" in saved:
        # the other streams are opened when the script has come to them
        ours, opened = saved["loop"]["streams"], again["loop"]["streams"]
        both = ours.keys() & opened.keys()
        saved = {**saved, "loop": {key: ours[key] for key in both}}
        again = {**again, "loop": {key: opened[key] for key in both}}
    if "shuffles" in saved.get("hidden", {}):
        # a finished stage has left its datasets to the garbage collector, which was here sooner
        ours = saved["hidden"]["shuffles"]
        theirs = again.get("hidden", {}).get("shuffles", {})
        ours = {name: at for name, at in ours.items() if not shuffles.is_gone(name)}
        theirs = {name: at for name, at in theirs.items() if name in ours}
        saved = {**saved, "hidden": {**saved["hidden"], "shuffles": ours}}
        again = {**again, "hidden": {**again.get("hidden", {}), "shuffles": theirs}}
    at = saved.get("iterator", {})
    if at.get("epoch_step") and not at.get("live"):
        # saved within a validation: its pass is begun once more, and has no batch left
        again = {**again, "iterator": {**again.get("iterator", {}), "live": False}}
    for key, value in saved.items():
        if key in _NOT_STATE:
            continue
        if key == "callbacks":
            yield from _callback_gaps(value, again.get(key, []))
        elif key == "random":
            yield from _random_gaps(value, again.get(key, {}))
        elif key == "python":
            yield from _python_gaps(value, again.get(key) or {})
        elif key in ("generators", "seeds_in_models"):
            continue  # a script that loads its model in a relaunch makes more of them
        else:
            pair = value, again.get(key)
            if key == "variables" and pair[1] is not None:
                # Keras may number the names in a path differently; they are compared before
                pair = _without_paths(value), _without_paths(pair[1])
            place = first_difference(*pair)
            if place is not None:
                group = "data" if key in _DATA else "model" if key == "variables" else "state"
                name = ".".join([key, *place[0]])
                if group == "data":
                    name = f"position in the data: {name}"
                yield Gap(group, name, f"{place[1]} and {place[2]}")


def _callback_gaps(saved: list[Any], again: list[Any]) -> Iterator[Gap]:
    for (name, mine), (_, other) in zip(saved, again, strict=False):
        for part in ("attributes", "own", "constants", "class", "size"):
            # an attribute that an on_train_begin added is none of the checkpoint's
            ours, theirs = mine.get(part), other.get(part)
            if part == "attributes" and isinstance(ours, dict) and isinstance(theirs, dict):
                # paths that the script sets itself; checkpoints of older versions have them
                ours = {k: v for k, v in ours.items() if k in theirs or not isinstance(v, str)}
            if part in ("attributes", "class") and isinstance(theirs, dict):
                theirs = {key: theirs[key] for key in theirs if key in (ours or {})}
            place = first_difference(ours or None, theirs or None)
            if place is not None:
                path = [] if part in ("attributes", "class") else [part]
                where = ".".join([name, *path, *place[0][:1]])
                yield Gap("callbacks", where, f"{place[1]} and {place[2]}")


def _python_gaps(saved: Json, again: Json) -> Iterator[Gap]:
    """Compare what is reached from callbacks, closures and globals, by its path."""
    ours, theirs = saved.get("changed") or {}, again.get("changed") or {}
    for name, value in ours.items():
        place = first_difference(value, theirs.get(name))
        if place is not None:
            yield Gap("callbacks", name, f"{place[1]} and {place[2]}")


def _random_gaps(saved: Json, again: Json) -> Iterator[Gap]:
    for part, words in _GENERATORS.items():
        ours, theirs = saved.get(part), again.get(part)
        if ours is None or theirs is None:
            continue  # TensorFlow's eager seed is made by its first use
        if first_difference(ours, theirs) is not None:
            yield Gap("seeds", words, "another state")
