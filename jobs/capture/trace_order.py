"""The order in which TensorFlow met the shapes of a step, kept and met again.

``tf.function(reduce_retracing=True)``, which Keras makes of ``train_on_batch`` and its like,
traces the first shape of a batch as it is and the second one for any size. Which trace computes
a batch, and with it the last bits of the result, depends on the order in which the shapes came
(``TypeDispatchTable`` in ``tensorflow/core/function/polymorphism/type_dispatch.py``). A relaunch
that begins right before a smaller last batch would meet that one first; so each such function is
shown the shapes of earlier attempts, in their order, before its own first one.
"""

import inspect
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

try:
    from tensorflow.python.eager.polymorphic_function import tracing_compilation

    PLAIN_DEFINE: Callable[..., Any] | None = tracing_compilation._maybe_define_function
    """TensorFlow's own, as it was when this was imported; None where this one has none."""
except (ImportError, AttributeError):
    PLAIN_DEFINE = None


IN_CREATION: Final = " variable_creation"
AFTER_CREATION: Final = " no_variable_creation"

_graphs: list[Any] = []
"""Graphs that were traced while the loop runs, for those who look for what is not exact."""
_MOST_GRAPHS: Final = 100
"""Nobody may take them, e.g. while a stage without a loop runs."""
_models: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
"""The loops' models, numbered as they came, which is the same in each attempt."""
_met: dict[str, list[Any]] = {}
"""What each function was traced with in this process, in order, repetitions included."""
_left: dict[str, list[Any]] = {}
"""What each function was traced with before the checkpoint; tried before its next call."""
_caches: dict[str, Any] = {}
"""The traces in use; the newest of a name, e.g. of a model that was compiled once more."""
_keys: dict[tuple[int, Any], str] = {}
"""Names of the functions, by the id of their traces and whether these may create variables:
TensorFlow traces a function whose first call does so once more, and keeps that apart."""


def watch(models: Iterable[Any]) -> bool:
    """Notes traces from now on; ``models``: steps of theirs are told apart.

    Returns:
        False where this TensorFlow keeps its traces in another way, and the order cannot be known.
    """
    if PLAIN_DEFINE is None:
        return False
    for model in models:
        _models.setdefault(model, len(_models))
    tracing_compilation._maybe_define_function = _define
    return True


def captured() -> dict[str, list[Any]]:
    """Shapes of the arguments of each function as JSON, in the order of their traces."""
    # one that has not been called in this attempt yet is where the last one left it
    kept = {**_met, **_left}
    for key in [key for key in kept if key.endswith(AFTER_CREATION)]:
        # the trace that made the variables was made for that alone
        kept.pop(key.removesuffix(AFTER_CREATION) + IN_CREATION, None)
    return {key: list(met) for key, met in kept.items()}


def restore(kept: dict[str, list[Any]]) -> None:
    """Has functions that were traced before be traced in that order again."""
    _left.update((key, list(met)) for key, met in kept.items())


def _define(args: Any, kwargs: Any, options: Any) -> Any:
    """Stands in for ``_maybe_define_function``: the trace that fits, made where there is none."""
    assert PLAIN_DEFINE is not None
    cache = options.function_cache
    if cache is None or not tf.executing_eagerly():
        return PLAIN_DEFINE(args, kwargs, options)
    if not options.reduce_retracing:
        known = len(cache)
        found = PLAIN_DEFINE(args, kwargs, options)
        _note_graph(found, new=len(cache) > known)
        return found
    key = _keys.get((id(cache), options.scope_type)) or _introduce(cache, options)
    if key in _left:
        _met[key] = _left.pop(key)
        for earlier in _met[key]:
            PLAIN_DEFINE(*_specs(earlier), options)
    known = len(cache)
    found = PLAIN_DEFINE(args, kwargs, options)
    _note_graph(found, new=len(cache) > known)
    if len(cache) > known:
        described = _described((tuple(args), dict(kwargs)))
        if described is not None:
            _met[key].append(described)
    return found


def traced_graphs() -> list[Any]:
    """Take the graphs that were traced since the last call."""
    found = list(_graphs)
    _graphs.clear()
    return found


def _note_graph(function: Any, *, new: bool) -> None:
    graph = getattr(function, "graph", None)
    if new and graph is not None and len(_graphs) < _MOST_GRAPHS:
        _graphs.append(graph)


def _introduce(cache: Any, options: Any) -> str:
    key = f"{_name(options.python_function)} {options.scope_type.name.lower()}"
    if key in _caches:
        del _keys[id(_caches[key]), options.scope_type]
    _caches[key], _met[key] = cache, []
    _keys[id(cache), options.scope_type] = key
    return key


def _name(function: Callable[..., Any]) -> str:
    """The same in each attempt: where the function was written, and for which model."""
    plain = inspect.unwrap(function)
    name = f"{plain.__module__}.{plain.__qualname__}"
    for cell in getattr(plain, "__closure__", None) or ():
        value = cell.cell_contents
        owner = getattr(value, "__self__", value)
        if isinstance(owner, keras.Model) and owner in _models:
            name += f" {_models[owner]} {getattr(value, '__name__', '')}".rstrip()
    return name


def _described(value: Any) -> Any:
    """Arguments as JSON that tells shapes and types; None where that cannot be told."""
    if isinstance(value, tf.Tensor | np.ndarray | np.generic):
        return {
            "shape": [int(size) for size in value.shape],
            "dtype": tf.as_dtype(value.dtype).name,
        }
    if value is None or type(value) in (bool, int, float, str):
        return {"value": value}
    if type(value) in (tuple, list):
        parts = [_described(part) for part in value]
        return None if None in parts else {type(value).__name__: parts}
    if type(value) is dict and all(type(name) is str for name in value):
        named = {name: _described(part) for name, part in value.items()}
        return None if None in named.values() else {"dict": named}
    return None


def _specs(described: dict[str, Any]) -> Any:
    """The arguments again, with specs in the place of arrays."""
    if "shape" in described:
        return tf.TensorSpec(described["shape"], described["dtype"])
    if "value" in described:
        return described["value"]
    if "dict" in described:
        return {name: _specs(part) for name, part in described["dict"].items()}
    parts = [_specs(part) for kind in ("tuple", "list") for part in described.get(kind, [])]
    return tuple(parts) if "tuple" in described else parts
