"""Draws while tracing: random numbers that a step takes from Python or numpy when it is traced.

TensorFlow runs the Python code of a step once and keeps what it drew as a constant. A relaunch
traces the step again, in the middle of a training: it does so from the random state of the first
trace, and puts the current one back.
"""

import functools
import inspect
import random
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

import numpy as np

_plain: Callable[..., Any] | None = None
"""TensorFlow's own function, from the first stage on; None if this version has none."""

_DEPTH: Final = 3

_models: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
"""Models in the order in which stages train them, which is the same in each attempt."""
_stage = 0
_counts: dict[str, int] = {}
_known: dict[str, dict[str, Any]] = {}
"""States before each trace that drew, as JSON, by function, stage and number."""
_tracing = False


def enter_stage() -> None:
    """Count a stage, and watch the traces in it."""
    # late: it decides whether there is a TensorFlow, which the script may import at any time before
    from rekindle.jobs.keras_compat.tensorflow_parts import tracing_compilation

    global _stage, _plain
    _stage += 1
    _counts.clear()
    if _plain is None:
        _plain = getattr(tracing_compilation, "_create_concrete_function", None)
    if _plain is not None:
        tracing_compilation._create_concrete_function = _create


def number(models: Iterable[Any]) -> None:
    """Count models in the order of the stages that train them."""
    for model in models:
        _models.setdefault(model, len(_models))


def captured(data_draws: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the state before each trace that drew, as JSON.

    Args:
        data_draws: generators that the data draws from, maybe in another thread: left out.
    """
    kept = {
        key: {kind: state for kind, state in states.items() if kind not in data_draws}
        for key, states in _known.items()
    }
    return {key: states for key, states in kept.items() if states}


def restore(kept: dict[str, dict[str, Any]]) -> None:
    """Trace each function from the state that it was traced from before."""
    _known.update(kept)


def _create(function_type: Any, type_context: Any, graph: Any, options: Any) -> Any:
    """Replace ``_create_concrete_function``: trace a function."""
    plain = _plain
    assert plain is not None
    name = None if _tracing else step_name(options.python_function)
    return _traced(name, lambda: plain(function_type, type_context, graph, options))


def watched(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a model that traces as before whenever its Python code runs.

    For JAX, which runs that code once for each shape of its arguments.
    """
    owner = getattr(function, "__self__", None)

    @functools.wraps(function)
    def trace(*args: Any, **kwargs: Any) -> Any:
        known = None if _tracing or owner is None else _models.get(owner)
        plain = inspect.unwrap(function)
        shapes = " ".join(str(getattr(one, "aval", "")) for one in _leaves((args[1:], kwargs)))
        name = f"{plain.__module__}.{plain.__qualname__} ({shapes}) {known}"
        return _traced(None if known is None else name, lambda: function(*args, **kwargs))

    return trace


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _traced(name: str | None, trace: Callable[[], Any]) -> Any:
    """Run a trace from the random state of the first one of its name; None: as it is."""
    global _tracing
    if name is None or threading.current_thread() is not threading.main_thread():
        return trace()
    count = _counts[name] = _counts.get(name, -1) + 1
    key = f"{name} {_stage} {count}"
    before = _states()
    known = _known.get(key) or (_earlier(name) if count == 0 else None)
    _tracing = True
    try:
        if known is not None:
            _set(known)
        made = trace()
    finally:
        _tracing = False
        if known is not None:
            _set({kind: before[kind] for kind in known})  # it is behind this trace already
    if known is None:
        after = _states()
        drew = {kind: state for kind, state in before.items() if after[kind] != state}
        if drew:
            _known[key] = drew
    return made


def _earlier(name: str) -> dict[str, Any] | None:
    """Return the state of a function that an earlier stage traced."""
    earlier = [key for key in _known if key.rsplit(" ", 2)[0] == name]
    return _known[earlier[-1]] if earlier else None


def step_name(function: Callable[..., Any]) -> str | None:
    """Name a step by its definition and its model; None for a function of a library."""
    plain = inspect.unwrap(function)
    found = f"{plain.__module__}.{plain.__qualname__}"
    owner = None
    for value in _closed_over(plain, _DEPTH):
        model = getattr(value, "__self__", value)
        try:
            at = _models.get(model)
        except TypeError:
            continue  # it cannot be hashed or referred to weakly
        if at is not None:
            owner = at
        if callable(value):
            found += f" {getattr(value, '__name__', '')}".rstrip()
    if owner is not None:
        return f"{found} {owner}"
    return None if plain.__module__.partition(".")[0] in ("keras", "tensorflow") else found


def _closed_over(function: Callable[..., Any], depth: int) -> Iterator[Any]:
    """Return what a function closes over, through the functions in it.

    The training and the validation step of Keras differ only in the innermost one.
    """
    for cell in getattr(function, "__closure__", None) or ():
        try:
            value = cell.cell_contents
            inner = inspect.unwrap(value) if callable(value) else None
        except ValueError:
            continue  # not assigned yet, or it wraps itself
        yield value
        if depth and inspect.isfunction(inner):
            yield from _closed_over(inner, depth - 1)


def _states() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    version, inner, gauss = random.getstate()
    return {
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": [version, list(inner), gauss],
    }


def _set(states: dict[str, Any]) -> None:
    if "numpy" in states:
        kind, keys, *rest = states["numpy"]
        np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    if "python" in states:
        version, inner, gauss = states["python"]
        random.setstate((version, tuple(inner), gauss))
