"""Random state of a process: python, numpy, Keras' generators and TensorFlow's eager seeds."""

import functools
import random
import weakref
from typing import Any

import numpy as np

from rekindle.jobs.capture.codec import Tensors, decode, encode

_GLOBAL = "global_seed_generator"
"""What Keras calls the generator that everything without one of its own draws from."""

_generators: list["weakref.ref[Any]"] = []
_watching = False


def watch_seed_generators() -> None:
    """Keeps track of every generator of Keras and TensorFlow from now on, as they are made.

    Those of layers inside a data pipeline cannot be reached from the model; the order of
    creation is the same in every attempt, since the script is.
    """
    from keras.src.backend.common import global_state
    from keras.src.random.seed_generator import SeedGenerator

    global _watching
    if _watching:
        return
    _watching = True
    # a script that asks for this itself may have drawn from it before
    existing = global_state.get_global_attribute(_GLOBAL)
    if existing is not None:
        _generators.append(weakref.ref(existing))
    import tensorflow as tf

    for kind in (SeedGenerator, tf.random.Generator):
        _count(kind)


def _count(kind: Any) -> None:
    made = kind.__init__

    @functools.wraps(made)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if variable_of(self) is not None:
            _generators.append(weakref.ref(self))

    kind.__init__ = init


def variable_of(generator: Any) -> Any:
    """The TensorFlow variable that holds a generator's state, None for one made in a graph."""
    state = generator.state
    value = getattr(state, "_value", state)
    return value if hasattr(value, "assign") else None


def generators() -> list[tuple[int, Any]]:
    """All live generators with their numbers, in the order of creation."""
    return [
        (number, generator)
        for number, reference in enumerate(_generators)
        if (generator := reference()) is not None
    ]


def made() -> int:
    """How many generators this process has made so far, those that are gone included."""
    return len(_generators)


def seed_states(
    tensors: Tensors, prefix: str = "seeds", *, only: list[int] | None = None
) -> list[list[Any]]:
    """Live generators' states: number, name, and key of the array."""
    kept = []
    for number, generator in generators():
        if only is None or number in only:
            key = f"{prefix}/{number:05d}"
            tensors[key] = _replicas(variable_of(generator))
            kept.append([number, _name(generator), key])
    return kept


def restore_seed_states(kept: list[list[Any]], tensors: Tensors) -> None:
    """Puts states back into the generators that exist; others are of no use any more."""
    _make_global_generator(kept)
    for number, name, key in kept:
        generator = _generators[number]() if number < len(_generators) else None
        if generator is not None and _name(generator) == name:
            _assign(variable_of(generator), tensors[key])


def fingerprint() -> dict[str, bytes]:
    """The present states of Keras' and TensorFlow's generators, to be compared with others."""
    from tensorflow.python.eager import context

    found = {
        str(number): _replicas(variable_of(generator)).tobytes()
        for number, generator in generators()
    }
    rng = getattr(context.context(), "_rng", None)
    if rng is not None:
        found["eager"] = repr(rng.getstate()).encode()
    return found


def capture(
    tensors: Tensors,
    prefix: str = "random",
    *,
    only: list[int] | None = None,
    python: Any = None,
    numpy: Any = None,
) -> dict[str, Any]:
    """The state of all generators of the process, as JSON and arrays.

    Args:
        prefix: of the arrays' names; those of seed generators begin with ``seeds`` in it where
            it is not the usual one.
        only: numbers of seed generators, None for all.
        python, numpy: states to take in place of the present ones, None for those.
    """
    from tensorflow.python.eager import context

    eager = context.context()
    rng = getattr(eager, "_rng", None)
    return {
        "python": encode(python or random.getstate(), tensors, f"{prefix}/python"),
        "numpy": encode(numpy or np.random.get_state(), tensors, f"{prefix}/numpy"),
        "eager": None if rng is None else encode(rng.getstate(), tensors, f"{prefix}/eager"),
        "seeds": seed_states(
            tensors, "seeds" if prefix == "random" else f"{prefix}/seeds", only=only
        ),
    }


def restore(state: dict[str, Any], tensors: Tensors) -> None:
    """Puts back what :func:`capture` gave."""
    from tensorflow.python.eager import context

    restore_seed_states(state["seeds"], tensors)
    random.setstate(decode(state["python"], tensors))
    np.random.set_state(decode(state["numpy"], tensors))
    rng = getattr(context.context(), "_rng", None)
    if rng is not None and state["eager"] is not None:
        rng.setstate(decode(state["eager"], tensors))


def _make_global_generator(kept: list[list[Any]]) -> None:
    """The global one is made at its first use, which may come later in this process."""
    from keras.src.backend.common import global_state
    from keras.src.random.seed_generator import global_seed_generator

    if len(kept) and global_state.get_global_attribute(_GLOBAL) is None:
        live = {number for number, reference in enumerate(_generators) if reference() is not None}
        missing = [number for number, _, _ in kept if number not in live]
        if missing == [len(_generators)]:
            global_seed_generator()


def _name(generator: Any) -> str:
    return str(getattr(generator, "name", type(generator).__name__))


def _replicas(variable: Any) -> np.ndarray[Any, Any]:
    values = getattr(variable, "values", None)
    if isinstance(values, tuple):
        return np.stack([component.numpy() for component in values])
    return np.array(variable.numpy(), copy=True)


def _assign(variable: Any, array: np.ndarray[Any, Any]) -> None:
    values = getattr(variable, "values", None)
    if isinstance(values, tuple):
        for component, row in zip(values, array, strict=True):
            component.assign(row)
    else:
        variable.assign(array)
