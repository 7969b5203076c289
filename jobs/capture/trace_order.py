"""Trace order: the order in which TensorFlow traced the shapes of a step, saved and repeated.

``tf.function(reduce_retracing=True)``, which Keras uses for ``train_on_batch`` and similar,
traces the first shape of a batch as it is and the second one for any size. Which trace computes
a batch, and so the last bits of the result, depends on the order of the shapes
(``TypeDispatchTable`` in ``tensorflow/core/function/polymorphism/type_dispatch.py``). A relaunch
right before a smaller last batch would trace that one first; so each such function is first
traced with the shapes of earlier attempts, in their order.
"""

import inspect
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.keras_compat.tensorflow_parts import PRESENT, tf, tracing_compilation

PLAIN_DEFINE: Final[Callable[..., Any] | None] = getattr(
    tracing_compilation, "_maybe_define_function", None
)
"""TensorFlow's own function, as of the import; None if this version has none."""


IN_CREATION: Final = " variable_creation"
AFTER_CREATION: Final = " no_variable_creation"

_graphs: list[Any] | None = None
"""Graphs traced while a loop runs, to be searched for caveats; None without a loop."""
_MOST_GRAPHS: Final = 100
"""Limit of stored graphs: a loop that traces at each step may take them only once an epoch."""
_models: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
"""Models of loops, numbered in order of use, which is the same in each attempt."""
_met: dict[str, list[Any]] = {}
"""Arguments that each function was traced with in this process, in order, with repetitions."""
_left: dict[str, list[Any]] = {}
"""Arguments that each function was traced with before the checkpoint; traced at its next call."""
_caches: dict[str, Any] = {}
"""Trace caches in use, the newest by name, e.g. of a model that was compiled twice."""
_keys: dict[tuple[int, Any], str] = {}
"""Names of functions, by the id of their trace cache and whether it may create variables.

TensorFlow traces a function whose first call creates variables twice, in separate caches.
"""


def watch(models: Iterable[Any]) -> bool:
    """Record traces from now on; steps of ``models`` are distinguished.

    Returns:
        False if this TensorFlow stores traces in another way, so that the order is unknown.
    """
    if PLAIN_DEFINE is None:
        return not PRESENT
    for model in models:
        _models.setdefault(model, len(_models))
    tracing_compilation._maybe_define_function = _define
    return True


def captured() -> dict[str, list[Any]]:
    """Return the argument shapes of each function as JSON, in the order of its traces."""
    # a function not yet called in this attempt keeps its traces of earlier attempts
    kept = {**_met, **_left}
    for key in [key for key in kept if key.endswith(AFTER_CREATION)]:
        # the trace that creates variables is used once and never again
        kept.pop(key.removesuffix(AFTER_CREATION) + IN_CREATION, None)
    return {key: list(met) for key, met in kept.items()}


def restore(kept: dict[str, list[Any]]) -> None:
    """Trace functions in the order of earlier attempts, each at its next call."""
    _left.update((key, list(met)) for key, met in kept.items())


def _define(args: Any, kwargs: Any, options: Any) -> Any:
    """Replace ``_maybe_define_function``: find the matching trace, or make one."""
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


def collect_graphs(active: bool) -> None:
    """Begin to collect graphs from now on, or end it: without a loop they would only use memory."""
    global _graphs
    _graphs = [] if active else None


def take_graphs() -> list[Any]:
    """Return the graphs that were collected since the last call."""
    global _graphs
    found, _graphs = _graphs or [], []
    return found


def _note_graph(function: Any, *, new: bool) -> None:
    graph = getattr(function, "graph", None)
    if new and graph is not None and _graphs is not None and len(_graphs) < _MOST_GRAPHS:
        _graphs.append(graph)


def _introduce(cache: Any, options: Any) -> str:
    key = f"{_name(options.python_function)} {options.scope_type.name.lower()}"
    if key in _caches:
        del _keys[id(_caches[key]), options.scope_type]
    _caches[key], _met[key] = cache, []
    _keys[id(cache), options.scope_type] = key
    return key


def _name(function: Callable[..., Any]) -> str:
    """Name a function by its definition and its model, the same in each attempt."""
    plain = inspect.unwrap(function)
    name = f"{plain.__module__}.{plain.__qualname__}"
    for cell in getattr(plain, "__closure__", None) or ():
        value = cell.cell_contents
        owner = getattr(value, "__self__", value)
        if isinstance(owner, keras.Model) and owner in _models:
            name += f" {_models[owner]} {getattr(value, '__name__', '')}".rstrip()
    return name


def _described(value: Any) -> Any:
    """Describe arguments as JSON of shapes and types; None if one has neither."""
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
    """Rebuild described arguments, with specs in place of arrays."""
    if "shape" in described:
        return tf.TensorSpec(described["shape"], described["dtype"])
    if "value" in described:
        return described["value"]
    if "dict" in described:
        return {name: _specs(part) for name, part in described["dict"].items()}
    parts = [_specs(part) for kind in ("tuple", "list") for part in described.get(kind, [])]
    return tuple(parts) if "tuple" in described else parts
