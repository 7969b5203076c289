"""Encode plain data as JSON and arrays, and decode it, without loss and without pickle.

Types that JSON lacks (tuples, numpy scalars, keys that are not strings) are tagged; arrays
go into a table of tensors, bit for bit. Random generators and variables are restored into
the existing object, since others may hold a reference to it.
"""

import base64
import collections
import json
import random
import types
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from rekindle.state.run import tensors as tensor_files
from rekindle.state.run.training_state import TrainingState

Tensors = dict[str, np.ndarray[Any, Any]]

_PLAIN: Final = (bool, int, float, str)


class Unsupported(TypeError):
    """The value contains something that is not plain data; the text names its type."""


def encode(value: Any, tensors: Tensors, prefix: str) -> Any:
    """Encode ``value`` as JSON; add its arrays to ``tensors`` under ``prefix``.

    Raises:
        Unsupported: something in it is not plain data.
    """
    return _Encoder(tensors, prefix).encode(value, 0)


def decode(value: Any, tensors: Tensors, existing: Any = None) -> Any:
    """Decode what :func:`encode` returned; restore generators and variables into ``existing``.

    Raises:
        ValueError: the value does not fit.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, body),) = value.items()
    return _DECODERS[tag](body, tensors, existing)


def read_state(path: Path) -> tuple[Tensors, TrainingState]:
    """Read arrays and JSON from the state file of a checkpoint, of a `fit` or of a loop.

    Raises:
        OSError, ValueError, KeyError: it cannot be read, or contains no such state.
    """
    arrays, metadata = tensor_files.load(path)
    state: Any = json.loads(metadata["state"])
    if not isinstance(state, dict) or "position" not in state:
        raise ValueError("it contains no position")
    return arrays, cast("TrainingState", state)


class _Encoder:
    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self._tensors = tensors
        self._prefix = prefix
        self._count = 0

    def encode(self, value: Any, depth: int) -> Any:
        if depth > 32:
            raise Unsupported("a structure that is nested too deeply or in itself")
        if value is None or type(value) in _PLAIN:
            return value
        if isinstance(value, np.generic):
            return {"scalar": self._keep(np.asarray(value))}
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise Unsupported("an array of objects")
            return {"array": self._keep(value)}
        if isinstance(value, bytes):
            return {"bytes": base64.b64encode(value).decode()}
        if type(value) is list:
            return [self.encode(item, depth + 1) for item in value]
        if type(value) is tuple:
            return {"tuple": [self.encode(item, depth + 1) for item in value]}
        if type(value) in (set, frozenset):
            items = [self.encode(item, depth + 1) for item in value]
            # the iteration order of a set differs between processes
            return {type(value).__name__: sorted(items, key=json.dumps)}
        if type(value) is collections.deque:
            return {"deque": [value.maxlen, [self.encode(item, depth + 1) for item in value]]}
        if type(value) in _DICTS:
            pairs = [
                [self.encode(k, depth + 1), self.encode(v, depth + 1)] for k, v in value.items()
            ]
            return {_DICTS[type(value)]: pairs}
        return self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Any:
        if type(value) is random.Random:
            return {"random": self.encode(value.getstate(), depth + 1)}
        if isinstance(value, np.random.Generator):
            return {"generator": self.encode(dict(value.bit_generator.state), depth + 1)}
        if isinstance(value, np.random.RandomState):
            return {"random_state": self.encode(value.get_state(), depth + 1)}
        if hasattr(value, "assign") and hasattr(value, "numpy"):
            return {"variable": self._keep(np.asarray(value.numpy()))}
        if hasattr(value, "numpy") and hasattr(value, "dtype") and hasattr(value, "shape"):
            return {"tensor": self._keep(np.asarray(value.numpy()))}
        raise Unsupported(f"{type(value).__module__}.{type(value).__qualname__}")

    def _keep(self, array: np.ndarray[Any, Any]) -> list[str]:
        """Store a copy of an array; return its key and dtype (bfloat16 is read as raw bits)."""
        if array.dtype.itemsize > 8 or array.dtype.kind not in "biufcV":
            raise Unsupported(f"an array of {array.dtype}")
        key = f"{self._prefix}/{self._count}"
        self._count += 1
        # a copy: training must not change what is being saved
        self._tensors[key] = np.array(array, order="C", copy=True)
        return [key, array.dtype.name]


_DICTS: Final[dict[type, str]] = {
    dict: "dict",
    collections.OrderedDict: "ordered",
    collections.Counter: "counter",
    types.MappingProxyType: "dict",
}


def _pairs(body: Any, tensors: Tensors) -> list[tuple[Any, Any]]:
    return [(_hashable(decode(k, tensors)), decode(v, tensors)) for k, v in body]


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _random(body: Any, tensors: Tensors, existing: Any) -> Any:
    made = existing if isinstance(existing, random.Random) else random.Random()
    made.setstate(decode(body, tensors))
    return made


def _generator(body: Any, tensors: Tensors, existing: Any) -> Any:
    state = decode(body, tensors)
    if isinstance(existing, np.random.Generator):
        made = existing
    else:
        made = np.random.Generator(getattr(np.random, state["bit_generator"])())
    made.bit_generator.state = state
    return made


def _random_state(body: Any, tensors: Tensors, existing: Any) -> Any:
    made = existing if isinstance(existing, np.random.RandomState) else np.random.RandomState()
    made.set_state(decode(body, tensors))
    return made


def _variable(body: Any, tensors: Tensors, existing: Any) -> Any:
    if existing is None or not hasattr(existing, "assign"):
        raise ValueError("the variable to restore a value into does not exist")
    existing.assign(_array(body, tensors))
    return existing


def _tensor(body: Any, tensors: Tensors, existing: Any) -> Any:
    import tensorflow as tf  # the script has imported it: the value is a tensor

    return tf.constant(_array(body, tensors))


def _array(body: Any, tensors: Tensors) -> np.ndarray[Any, Any]:
    key, name = body
    array, dtype = tensors[key], np.dtype(name)
    return (array if array.dtype == dtype else array.view(dtype)).copy()


_DECODERS: Final[dict[str, Any]] = {
    "scalar": lambda body, tensors, _: _array(body, tensors)[()],
    "array": lambda body, tensors, _: _array(body, tensors),
    "bytes": lambda body, tensors, _: base64.b64decode(body),
    "tuple": lambda body, tensors, _: tuple(decode(item, tensors) for item in body),
    "set": lambda body, tensors, _: {_hashable(decode(item, tensors)) for item in body},
    "frozenset": lambda body, tensors, _: frozenset(
        _hashable(decode(item, tensors)) for item in body
    ),
    "deque": lambda body, tensors, _: collections.deque(
        (decode(item, tensors) for item in body[1]), maxlen=body[0]
    ),
    "dict": lambda body, tensors, _: dict(_pairs(body, tensors)),
    "ordered": lambda body, tensors, _: collections.OrderedDict(_pairs(body, tensors)),
    "counter": lambda body, tensors, _: collections.Counter(dict(_pairs(body, tensors))),
    "random": _random,
    "generator": _generator,
    "random_state": _random_state,
    "variable": _variable,
    "tensor": _tensor,
}
