"""RNG state of a process: Python, numpy, Keras' generators and TensorFlow's eager seeds."""

import functools
import gc
import random
import re
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from rekindle.jobs.bytecode.identity import identity_of
from rekindle.jobs.capture import torch_random
from rekindle.jobs.capture.codec import Tensors, decode, encode
from rekindle.jobs.capture.component import Caveat, ComponentBase
from rekindle.jobs.seeding import trace_draws, unseeded
from rekindle.jobs.weights.raw_arrays import value_of
from rekindle.state.run.training_state import TrainingState

_OTHER_BACKENDS: Final = ("keras.src.backend.jax", "keras.src.backend.torch")

_generators: list["weakref.ref[Any]"] = []
_watched: list[Any] = []
_numbers: dict[int, int] = {}
"""Numbers of generators in this process by those in the checkpoint, where they differ."""


def watch_seed_generators(kinds: Iterable[Any] = (), existing: Any = None) -> None:
    """Register every generator of Keras and TensorFlow from now on, in the order of creation.

    Generators of layers inside a data pipeline cannot be reached from the model; their order of
    creation is the same in every attempt, since the script is.

    Args:
        kinds: classes of Keras' own generators.
        existing: a generator that exists already.
    """
    if existing is not None and not any(one() is existing for one in _generators):
        _generators.append(weakref.ref(existing))
    tensorflow = sys.modules.get("tensorflow")
    for kind in (*kinds, *([tensorflow.random.Generator] if tensorflow is not None else [])):
        _count(kind)


def _count(kind: Any) -> None:
    if kind in _watched:
        return
    _watched.append(kind)
    made = kind.__init__

    @functools.wraps(made)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if variable_of(self) is not None:
            _generators.append(weakref.ref(self))

    kind.__init__ = init


def variable_of(generator: Any) -> Any:
    """Return the TensorFlow variable of a generator's state; None for one created in a graph.

    On another backend that is the Keras variable itself.
    """
    state = generator.state
    if type(state).__module__.startswith(_OTHER_BACKENDS):
        return state
    value = getattr(state, "_value", state)
    return value if hasattr(value, "assign") else None


def replicas_of(generator: Any) -> list[Any]:
    """List the TensorFlow variables of a generator's state: one, or one for each replica."""
    variable = variable_of(generator)
    values = getattr(variable, "values", None)
    return list(values) if isinstance(values, tuple) else [variable]


def generators() -> list[tuple[int, Any]]:
    """List all live generators with their numbers, in the order of creation."""
    return [
        (number, generator)
        for number, reference in enumerate(_generators)
        if (generator := reference()) is not None
    ]


def numbers_of(variables: Iterable[Any]) -> list[int]:
    """Return the numbers of live generators whose state is one of these TensorFlow variables."""
    known = set(map(identity_of, variables))
    return [number for number, one in generators() if _is_among(one, known)]


def _is_among(generator: Any, known: set[int]) -> bool:
    """Return whether the state of a generator is one of the variables with these identities."""
    parts = (variable_of(generator), *replicas_of(generator))
    return any(identity_of(part) in known for part in parts)


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
        here = _numbers.get(number, number)
        generator = _generators[here]() if 0 <= here < len(_generators) else None
        if generator is not None and _base(_name(generator)) == _base(name):
            _assign(variable_of(generator), tensors[key])


def fingerprint() -> dict[str, bytes]:
    """Return the current states of Keras' and TensorFlow's generators, for comparison."""
    found = {
        str(number): _replicas(variable_of(generator)).tobytes()
        for number, generator in generators()
    }
    found |= torch_random.fingerprint()
    own = _own_random()
    if own is not None:
        found["keras"] = repr(own.getstate()).encode()
    rng = _eager_random()
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
    made_unseeded: Any = None,
) -> dict[str, Any]:
    """Capture the state of all generators of the process, as JSON and arrays.

    Args:
        prefix: of the arrays' names; unless it is the default, ``seeds`` of seed generators is
            below it.
        only: numbers of seed generators; None for all.
        python, numpy, made_unseeded: states to save instead of the current ones.
    """
    rng = _eager_random()
    own = _own_random()
    of_keras = {} if own is None else {"keras": encode(own.getstate(), tensors, f"{prefix}/keras")}
    return {
        **of_keras,
        **torch_random.capture(tensors, prefix),
        "python": encode(python or random.getstate(), tensors, f"{prefix}/python"),
        "numpy": encode(numpy or np.random.get_state(), tensors, f"{prefix}/numpy"),
        "eager": None if rng is None else encode(rng.getstate(), tensors, f"{prefix}/eager"),
        "unseeded": made_unseeded or unseeded.counts(),
        "seeds": seed_states(
            tensors, "seeds" if prefix == "random" else f"{prefix}/seeds", only=only
        ),
    }


def restore(state: dict[str, Any], tensors: Tensors) -> None:
    """Restore what :func:`capture` returned."""
    restore_seed_states(state["seeds"], tensors)
    random.setstate(decode(state["python"], tensors))
    np.random.set_state(decode(state["numpy"], tensors))
    torch_random.restore(state, tensors)
    own = _own_random()
    if own is not None and "keras" in state:
        own.setstate(decode(state["keras"], tensors))
    if "unseeded" in state:  # older checkpoints have none
        unseeded.restore(state["unseeded"])
    rng = _eager_random()
    if rng is not None and state["eager"] is not None:
        rng.setstate(decode(state["eager"], tensors))


def _eager_random() -> Any:
    """Return the generator of TensorFlow's eager seeds; None where there is none."""
    from rekindle.jobs.keras_compat.tensorflow_parts import PRESENT, context

    return getattr(context.context(), "_rng", None) if PRESENT else None


def _own_random() -> Any:
    from rekindle.jobs.keras_compat import internals

    return internals.own_random()


def _make_global_generator(kept: list[list[Any]]) -> None:
    """Create the global generator, whose first use may come later in this process."""
    from rekindle.jobs.keras_compat import internals

    if len(kept) and internals.existing_global_generator() is None:
        live = {number for number, reference in enumerate(_generators) if reference() is not None}
        missing = [number for number, _, _ in kept if number not in live]
        if missing == [len(_generators)]:
            internals.make_global_generator()


def _base(name: str) -> str:
    """Remove the number of an automatic name."""
    return re.sub(r"(?<=seed_generator)_\d+$", "", name)


def _name(generator: Any) -> str:
    return str(getattr(generator, "name", type(generator).__name__))


def _replicas(variable: Any) -> np.ndarray[Any, Any]:
    values = getattr(variable, "values", None)
    if isinstance(values, tuple):
        return np.stack([value_of(component) for component in values])
    return np.array(value_of(variable), copy=True)


def _assign(variable: Any, array: np.ndarray[Any, Any]) -> None:
    values = getattr(variable, "values", None)
    if isinstance(values, tuple):
        for component, row in zip(values, array, strict=True):
            component.assign(row)
    else:
        variable.assign(array)


def _in_data(saved: TrainingState) -> set[int]:
    """Return the numbers of generators that the data drew from, at the checkpoint."""
    streams = saved.get("loop", {}).get("streams", {}).values()
    begun = [saved.get("live", {}), *(stream.get("begin", {}) for stream in streams)]
    return {entry[0] for begin in begun for entry in begin.get("seeds", [])}


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
        self._unmatched = False
        trace_draws.enter_stage()

    def match(self, saved: TrainingState, in_models: list[Any]) -> None:
        """Find the generators of the checkpoint where this process numbers them differently.

        A script that builds its model and then loads another in its place, or skips what it
        finds on disk, creates more or fewer of them in a relaunch. Those of models are restored
        as variables; the others are matched in their order.

        Args:
            in_models: TensorFlow variables of the models.
        """
        from rekindle.jobs.keras_compat import internals

        _numbers.clear()
        if saved.get("generators", self.made) == self.made:
            return
        _numbers.update((entry[0], -1) for entry in saved["random"]["seeds"])
        gc.collect()  # a model that was replaced still refers to its generators
        paths = "/".join(
            path for group in saved.get("variables", {}).values() for path, *_ in group
        ).split("/")
        inside_models = set(saved.get("seeds_in_models", ()))
        then = [
            entry
            for entry in saved["random"]["seeds"]
            if entry[1] not in paths and entry[0] not in inside_models
        ]
        if any(entry[1] == internals.GLOBAL_GENERATOR for entry in then):
            internals.make_global_generator()  # its first use may come later in this process
        models = set(map(identity_of, in_models))
        now = [pair for pair in generators() if not _is_among(pair[1], models)]
        in_data, were_in_data = set(self._in_data()), _in_data(saved)
        for inside in (True, False):
            old = [entry for entry in then if (entry[0] in were_in_data) is inside]
            new = [pair for pair in now if (pair[0] in in_data) is inside]
            same = [_base(entry[1]) for entry in old] == [_base(_name(one)) for _, one in new]
            if same:
                _numbers.update((entry[0], pair[0]) for entry, pair in zip(old, new, strict=True))
            elif new:
                self._unmatched = True

    def caveats(self) -> list[Caveat]:
        if not self._unmatched:
            return []
        return [
            Caveat(
                "The script made other random generators than in the attempt before, and those "
                "outside of the model start over",
                "build the same models and layers in every attempt",
            )
        ]

    def capture(self, arrays: Tensors) -> TrainingState:
        drawn = self._drawn()
        state: TrainingState = {"generators": self.made, "random": capture(arrays, **drawn)}
        if traced := trace_draws.captured(drawn):
            state["traced"] = traced
        return state

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        in_data = set(self._in_data())
        seeds = saved["random"]["seeds"]
        kept = [entry for entry in seeds if _numbers.get(entry[0], entry[0]) not in in_data]
        restore({**saved["random"], "seeds": kept}, arrays)
        trace_draws.restore(saved.get("traced", {}))

    def receipt(self, saved: TrainingState) -> list[str]:
        return ["random state"]

    def unchecked(self, saved: TrainingState) -> list[str]:
        """List generators that data draws from ahead, or that have other numbers than before."""
        in_data = set(self._in_data())
        renumbered = bool(_numbers)
        now = {number: _base(_name(generator)) for number, generator in generators()}
        seeds = saved["random"]["seeds"]
        known = {key for _, _, key in seeds}
        return [
            *(
                key
                for number, name, key in seeds
                if renumbered or number in in_data or now.get(number) != _base(name)
            ),
            # made by the script since, e.g. by a model that it built for another purpose
            *(key for number in now if (key := f"seeds/{number:05d}") not in known),
        ]

    def variables(self) -> list[Any]:
        """List the TensorFlow variables of the seed generators."""
        return [part for _, generator in generators() for part in replicas_of(generator)]
