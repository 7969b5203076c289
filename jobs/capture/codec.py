"""Encode plain data as JSON and arrays, and decode it, without loss and without pickle.

Types that JSON lacks (tuples, numpy scalars, keys that are not strings) are tagged; arrays
go into a table of tensors, bit for bit. Random generators and variables are restored into
the existing object, since others may hold a reference to it.
"""

import base64
import collections
import json
import random
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from rekindle.state.run import tensors as tensor_files
from rekindle.state.run.training_state import TrainingState

Tensors = dict[str, np.ndarray[Any, Any]]

_PLAIN: Final = (bool, int, float, str)
# nothing draws from them: they only refuse a state that is none
_OF_PYTHON: Final = random.Random(0)
_OF_NUMPY: Final = np.random.RandomState(np.random.MT19937(0))


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

    Lists, tuples and dicts are new; generators and variables in them are those of
    ``existing``, at the same place. A variable that does not exist yet is created.

    Raises:
        ValueError: the value does not fit.
    """
    if isinstance(value, list):
        return _items(value, tensors, existing)
    if not isinstance(value, dict):
        return value
    try:
        ((tag, body),) = value.items()
        return _DECODERS[tag](body, tensors, existing)
    except (LookupError, TypeError, ArithmeticError) as error:
        raise ValueError(f"not an encoded value: {error!r}") from error


def read_state(path: Path, mapped: tuple[str, ...] = ()) -> tuple[Tensors, TrainingState]:
    """Read arrays and JSON from the state file of a checkpoint, of a `fit` or of a loop.

    Args:
        mapped: as for :func:`tensors.load`.

    Raises:
        OSError, ValueError, KeyError: it cannot be read, or contains no such state.
    """
    arrays, metadata = tensor_files.load(path, mapped=mapped)
    state: Any = json.loads(metadata["state"])
    if not isinstance(state, dict) or "position" not in state:
        raise ValueError("it contains no position")
    check_state(state, arrays)
    return arrays, cast("TrainingState", state)


def check_state(state: dict[str, Any], arrays: Tensors) -> None:
    """Check the parts of a state that every stage has, before anything is restored from it.

    Raises:
        ValueError: something has another form than a capture gives it.
    """
    try:
        _check_position(state["position"])
        for group, entries in state["variables"].items():
            for index, entry in enumerate(entries):
                _check_entry(entry, (str, list | None, str))
                there = f"{group}/{index:05d}" in arrays or "dropped" in state
                _require(there, f"no array for {entry[0]}")
        for layer in state["fingerprint"].get("layers", []):
            _require(len(layer) >= 3 and all(isinstance(one, str) for one in layer), repr(layer))
        for _, saved in state.get("callbacks", []):
            _require(isinstance(saved, dict), f"a callback is {saved!r:.40}")
        for key, count in state.get("non_finite", {}).items():
            _require(isinstance(key, str) and type(count) is int, f"non_finite: {key!r:.40}")
        generators = state["random"]
        _OF_PYTHON.setstate(decode(generators["python"], arrays))
        _OF_NUMPY.set_state(decode(generators["numpy"], arrays))
        if generators["eager"] is not None:
            _OF_PYTHON.setstate(decode(generators["eager"], arrays))
        for entry in generators["seeds"]:
            _check_entry(entry, (int, str, str))
            _require(entry[2] in arrays, f"no array {entry[2]}")
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"its content is malformed: {error}") from error


def _check_position(position: dict[str, Any]) -> None:
    for key in ("stage", "epoch", "step", "epoch_step", "base"):
        _require(type(position[key]) is int and position[key] >= 0, f"position: {key}")
    _require(isinstance(position["end"], bool), "position: end")


def _check_entry(entry: Any, types: tuple[Any, ...]) -> None:
    _require(
        isinstance(entry, list) and len(entry) == len(types) and all(map(isinstance, entry, types)),
        f"{entry!r:.60}",
    )


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(what)


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
        if isinstance(fields := getattr(value, "_fields", None), tuple):
            items = [self.encode(item, depth + 1) for item in value]
            return {"named": [type(value).__qualname__, list(fields), items]}
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
        torch: Any = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return {"torch": [*self._keep(_torch_bits(torch, value)), str(value.dtype)]}
        if torch is not None and isinstance(value, torch.Generator):
            return {"torch_generator": self.encode(value.get_state(), depth + 1)}
        jax: Any = sys.modules.get("jax")
        if jax is not None and isinstance(value, jax.Array):
            return {"jax": self._jax(jax, value)}
        if is_tree(jax, value):
            leaves, tree = jax.tree_util.tree_flatten(value)
            return {"tree": [_stable(tree), [self.encode(leaf, depth + 1) for leaf in leaves]]}
        if hasattr(value, "assign") and hasattr(value, "numpy"):
            return {"variable": self._keep(np.asarray(value.numpy()))}
        if hasattr(value, "numpy") and hasattr(value, "dtype") and hasattr(value, "shape"):
            return {"tensor": self._keep(np.asarray(value.numpy()))}
        raise Unsupported(f"{type(value).__module__}.{type(value).__qualname__}")

    def _jax(self, jax: Any, value: Any) -> list[Any]:
        """Return key and type of a JAX array, whether its type is weak, and the kind of a key."""
        if not getattr(value, "is_fully_addressable", True):
            raise Unsupported("a JAX array that is spread over several processes")
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            bits = np.asarray(jax.random.key_data(value))
            return [*self._keep(bits), False, str(jax.random.key_impl(value))]
        return [*self._keep(np.asarray(value)), bool(value.weak_type), ""]

    def _keep(self, array: np.ndarray[Any, Any]) -> list[str]:
        """Store a copy of an array; return its key and dtype (bfloat16 is read as raw bits)."""
        if array.dtype.itemsize > 8 or array.dtype.kind not in "biufcV":
            raise Unsupported(f"an array of {array.dtype}")
        key = f"{self._prefix}/{self._count}"
        self._count += 1
        # a copy: training must not change what is being saved
        self._tensors[key] = np.array(array, order="C", copy=True)
        return [key, array.dtype.name]


# a checkpoint names one of these; nothing else that it names is ever called
_BIT_GENERATORS: Final[dict[str, Any]] = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}

_DICTS: Final[dict[type, str]] = {
    dict: "dict",
    collections.OrderedDict: "ordered",
    collections.Counter: "counter",
    types.MappingProxyType: "dict",
}


_COMPOUND: Final = frozenset({list, dict})


def _items(body: list[Any], tensors: Tensors, existing: Any) -> list[Any]:
    if _COMPOUND.isdisjoint(map(type, body)):
        return body[:]  # e.g. the 624 numbers of a generator
    before = list(existing) if isinstance(existing, list | tuple | collections.deque) else []
    before += [None] * (len(body) - len(before))
    return [decode(item, tensors, one) for item, one in zip(body, before, strict=False)]


def _pairs(body: Any, tensors: Tensors, existing: Any) -> list[tuple[Any, Any]]:
    before = existing if isinstance(existing, Mapping) else {}
    keys = [_hashable(decode(k, tensors)) for k, _ in body]
    return [
        (key, decode(v, tensors, before.get(key))) for key, (_, v) in zip(keys, body, strict=True)
    ]


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _random(body: Any, tensors: Tensors, existing: Any) -> Any:
    made = existing if isinstance(existing, random.Random) else random.Random(0)
    made.setstate(decode(body, tensors))
    return made


def _generator(body: Any, tensors: Tensors, existing: Any) -> Any:
    state = decode(body, tensors)
    if isinstance(existing, np.random.Generator):
        made = existing
    else:
        made = np.random.Generator(_BIT_GENERATORS[state["bit_generator"]](0))
    made.bit_generator.state = state
    return made


def _random_state(body: Any, tensors: Tensors, existing: Any) -> Any:
    made = (
        existing
        if isinstance(existing, np.random.RandomState)
        else np.random.RandomState(np.random.MT19937(0))
    )
    made.set_state(decode(body, tensors))
    return made


def _variable(body: Any, tensors: Tensors, existing: Any) -> Any:
    if existing is None or not hasattr(existing, "assign"):
        import tensorflow as tf  # the script has imported it: the value was a variable

        # the script creates it during the training, as a shadow copy in the first batch
        return tf.Variable(_array(body, tensors), trainable=False)
    existing.assign(_array(body, tensors))
    return existing


def _tensor(body: Any, tensors: Tensors, existing: Any) -> Any:
    import tensorflow as tf  # the script has imported it: the value is a tensor

    return tf.constant(_array(body, tensors))


def _torch_bits(torch: Any, value: Any) -> np.ndarray[Any, Any]:
    """Return the values of a tensor of PyTorch; bits, for a type that numpy lacks."""
    plain = value.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        plain = plain.view(torch.int16)
    found: np.ndarray[Any, Any] = plain.numpy()
    return found


def _torch(body: Any, tensors: Tensors) -> Any:
    torch: Any = sys.modules["torch"]  # the script has imported it: the value is a tensor
    made = torch.from_numpy(_array(body[:2], tensors))
    wanted = getattr(torch, body[2].removeprefix("torch."))
    return made if made.dtype == wanted else made.view(wanted)


def _torch_generator(body: Any, tensors: Tensors, existing: Any) -> Any:
    torch: Any = sys.modules["torch"]
    made = existing if isinstance(existing, torch.Generator) else torch.Generator()
    made.set_state(decode(body, tensors))
    return made


def _jax_array(body: Any, tensors: Tensors, existing: Any) -> Any:
    """Make a JAX array, on the devices of the existing one."""
    jax: Any = sys.modules["jax"]  # the script has imported it: the value is one of its arrays
    *kept, is_weak, key = body
    made = jax.numpy.asarray(_array(kept, tensors))
    if is_weak:
        made = jax._src.lax.lax._convert_element_type(made, made.dtype, weak_type=True)
    if key:
        made = jax.random.wrap_key_data(made, impl=key)
    fits = isinstance(existing, jax.Array) and existing.shape == made.shape
    if fits and len(getattr(existing.sharding, "device_set", ())) > 1:
        made = jax.device_put(made, existing.sharding)
    return made


def _named(body: Any, tensors: Tensors, existing: Any) -> Any:
    """Make a named tuple of the class of the existing one, which a checkpoint cannot give."""
    name, fields, items = body
    if getattr(existing, "_fields", None) != tuple(fields):
        raise ValueError(f"a {name}, where the script has a {type(existing).__qualname__}")
    return type(existing)._make(_items(items, tensors, existing))


def is_tree(jax: Any, value: Any) -> bool:
    """Return whether a value is a frozen dataclass that JAX knows as a tree, e.g. of flax."""
    parameters = getattr(type(value), "__dataclass_params__", None)
    if jax is None or parameters is None or not parameters.frozen:
        return False
    return not jax.tree_util.all_leaves([value])


_trees: dict[str, Any] = {}
"""Structures of trees that were met in this process, by their text without addresses."""


def _stable(tree: Any) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", str(tree))
    _trees.setdefault(text, tree)
    return text


def _tree(body: Any, tensors: Tensors, existing: Any) -> Any:
    """Make a tree in the structure of the existing one: functions in it are those of the script."""
    jax: Any = sys.modules["jax"]
    text, items = body
    if existing is not None and is_tree(jax, existing):
        _stable(jax.tree_util.tree_structure(existing))
    leaves = jax.tree_util.tree_leaves(existing)
    if len(leaves) != len(items):
        leaves = [None] * len(items)
    if text not in _trees:
        raise ValueError(f"a tree that the script has not made: {text:.80}")
    return jax.tree_util.tree_unflatten(
        _trees[text], [decode(item, tensors, one) for item, one in zip(items, leaves, strict=True)]
    )


def _array(body: Any, tensors: Tensors) -> np.ndarray[Any, Any]:
    key, name = body
    array, dtype = tensors[key], np.dtype(name)
    return (array if array.dtype == dtype else array.view(dtype)).copy()


_DECODERS: Final[dict[str, Any]] = {
    "scalar": lambda body, tensors, _: _array(body, tensors)[()],
    "array": lambda body, tensors, _: _array(body, tensors),
    "bytes": lambda body, tensors, _: base64.b64decode(body),
    "tuple": lambda body, tensors, existing: tuple(_items(body, tensors, existing)),
    "set": lambda body, tensors, _: {_hashable(decode(item, tensors)) for item in body},
    "frozenset": lambda body, tensors, _: frozenset(
        _hashable(decode(item, tensors)) for item in body
    ),
    "deque": lambda body, tensors, existing: collections.deque(
        _items(body[1], tensors, existing), maxlen=body[0]
    ),
    "dict": lambda body, tensors, existing: dict(_pairs(body, tensors, existing)),
    "ordered": lambda body, tensors, existing: collections.OrderedDict(
        _pairs(body, tensors, existing)
    ),
    "counter": lambda body, tensors, existing: collections.Counter(
        dict(_pairs(body, tensors, existing))
    ),
    "random": _random,
    "generator": _generator,
    "random_state": _random_state,
    "variable": _variable,
    "tensor": _tensor,
    "torch_generator": _torch_generator,
    "jax": _jax_array,
    "named": _named,
    "tree": _tree,
    "torch": lambda body, tensors, _: _torch(body, tensors),
}
