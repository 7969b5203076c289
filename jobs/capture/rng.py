"""RNG state of a process: Python, numpy, Keras' generators and TensorFlow's eager seeds."""

import functools
import random
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rekindle.jobs.capture.codec import Tensors, decode, encode
from rekindle.jobs.capture.component import ComponentBase
from rekindle.state.run.training_state import TrainingState

_generators: list["weakref.ref[Any]"] = []
_watching = False


def watch_seed_generators() -> None:
    """Register every generator of Keras and TensorFlow from now on, in the order of creation.

    Generators of layers inside a data pipeline cannot be reached from the model; their order of
    creation is the same in every attempt, since the script is.
    """
    from rekindle.jobs import keras_compat

    global _watching
    if _watching:
        return
    _watching = True
    # the script may have created it before this call
    existing = keras_compat.existing_global_generator()
    if existing is not None:
        _generators.append(weakref.ref(existing))
    import tensorflow as tf

    for kind in (keras_compat.SeedGenerator, tf.random.Generator):
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
    """Return the TensorFlow variable of a generator's state; None for one created in a graph."""
    state = generator.state
    value = getattr(state, "_value", state)
    return value if hasattr(value, "assign") else None


def generators() -> list[tuple[int, Any]]:
    """List all live generators with their numbers, in the order of creation."""
    return [
        (number, generator)
        for number, reference in enumerate(_generators)
        if (generator := reference()) is not None
    ]


def made() -> int:
    """Count the generators that this process has created, including deleted ones."""
    return len(_generators)


def seed_states(
    tensors: Tensors, prefix: str = "seeds", *, only: list[int] | None = None
) -> list[list[Any]]:
    """Copy states of live generators; return number, name and array key of each."""
    kept = []
    for number, generator in generators():
        if only is None or number in only:
            key = f"{prefix}/{number:05d}"
            tensors[key] = _replicas(variable_of(generator))
            kept.append([number, _name(generator), key])
    return kept


def restore_seed_states(kept: list[list[Any]], tensors: Tensors) -> None:
    """Restore states of the generators that exist; skip the others, which nothing uses."""
    _make_global_generator(kept)
    for number, name, key in kept:
        generator = _generators[number]() if number < len(_generators) else None
        if generator is not None and _name(generator) == name:
            _assign(variable_of(generator), tensors[key])


def fingerprint() -> dict[str, bytes]:
    """Return the current states of Keras' and TensorFlow's generators, for comparison."""
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
    """Capture the state of all generators of the process, as JSON and arrays.

    Args:
        prefix: of the arrays' names; unless it is the default, ``seeds`` of seed generators is
            below it.
        only: numbers of seed generators; None for all.
        python, numpy: states to save instead of the current ones.
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
    """Restore what :func:`capture` returned."""
    from tensorflow.python.eager import context

    restore_seed_states(state["seeds"], tensors)
    random.setstate(decode(state["python"], tensors))
    np.random.set_state(decode(state["numpy"], tensors))
    rng = getattr(context.context(), "_rng", None)
    if rng is not None and state["eager"] is not None:
        rng.setstate(decode(state["eager"], tensors))


def _make_global_generator(kept: list[list[Any]]) -> None:
    """Create the global generator, whose first use may come later in this process."""
    from rekindle.jobs import keras_compat

    if len(kept) and keras_compat.existing_global_generator() is None:
        live = {number for number, reference in enumerate(_generators) if reference() is not None}
        missing = [number for number, _, _ in kept if number not in live]
        if missing == [len(_generators)]:
            keras_compat.make_global_generator()


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


class RandomState(ComponentBase):
    """Capture and restore all generators of the process; a component of every stage.

    Args:
        in_data: returns numbers of seed generators that the data draws from and restores.
        drawn: returns states of ``python`` and ``numpy`` to save instead of the current ones,
            which prefetched data has advanced.
    """

    def __init__(
        self, in_data: Callable[[], Iterable[int]], drawn: Callable[[], dict[str, Any]] = dict
    ) -> None:
        self.made = made()
        self._in_data = in_data
        self._drawn = drawn

    def is_renumbered(self, saved: TrainingState) -> bool:
        """Return whether seed generators are renumbered and all of them belong to models.

        A script that builds its model and then loads another in its place creates more of them
        on a relaunch. Generators outside of models are identified by their number alone.
        """
        in_models = sum(
            "seed_generator" in path
            for group, entries in saved.get("variables", {}).items()
            if group.partition(".")[0] == "model"
            for path, _, _ in entries
        )
        return (
            saved.get("generators", self.made) != self.made
            and len(saved["random"]["seeds"]) == in_models
        )

    def capture(self, arrays: Tensors) -> TrainingState:
        return {"generators": self.made, "random": capture(arrays, **self._drawn())}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        in_data = set(self._in_data())
        seeds = [] if self.is_renumbered(saved) else saved["random"]["seeds"]
        kept = [entry for entry in seeds if entry[0] not in in_data]
        restore({**saved["random"], "seeds": kept}, arrays)

    def receipt(self, saved: TrainingState) -> list[str]:
        return ["random state"]

    def variables(self) -> list[Any]:
        """List the TensorFlow variables of the seed generators."""
        return [variable_of(generator) for _, generator in generators()]
