"""Positions of all shuffles of the process, in the order of their creation.

A shuffle that shuffles again in each iteration, and ``Dataset.random`` and ``sample_from_datasets``
that draw again, advance a hidden generator whenever an iterator over them begins. Each gets a
generator of ours, with the same seeds and so the same numbers, whose position can be read and set.
"""

import functools
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rekindle.jobs.data.pipeline import graph, seed_stream
from rekindle.jobs.data.pipeline.seed_stream import SeedStream
from rekindle.jobs.keras_compat.tensorflow_parts import (
    gen_dataset_ops,
    gen_experimental_dataset_ops,
    tf,
)

Positions = dict[str, int]

_streams: dict[str, tuple["weakref.ref[Any]", SeedStream]] = {}
_made: "Counter[str]" = Counter()
_MOST_PATHS = 256


@functools.cache
def supported() -> bool:
    """Return whether positions can be read and set with this version of TensorFlow.

    It is tried once the script has made a dataset or trains: the trial starts TensorFlow, and a
    script configures its devices before that.
    """
    return seed_stream.works()


def watch() -> None:
    """Give each shuffle from now on a generator of ours, if its position can be read."""
    for module, name in (
        (gen_dataset_ops, "shuffle_dataset_v3"),
        (gen_experimental_dataset_ops, "random_dataset_v2"),
    ):
        setattr(module, name, _with_stream(getattr(module, name)))


def _with_stream(plain: Any) -> Any:
    @functools.wraps(plain)
    def make(*args: Any, **kwargs: Any) -> Any:
        again = kwargs.get("reshuffle_each_iteration", kwargs.get("rerandomize_each_iteration"))
        # within a function each call makes a dataset, and a generator, of its own
        if not again or "seed_generator" not in kwargs or not tf.executing_eagerly():
            return plain(*args, **kwargs)
        if not supported():
            return plain(*args, **kwargs)
        seeds = int(kwargs["seed"]), int(kwargs["seed2"])
        stream = SeedStream.make(*seeds)
        variant = plain(*args, **{**kwargs, "seed_generator": stream.handle})
        name = f"{seeds[0]} {seeds[1]}"
        _streams[f"{name} {_made[name]}"] = weakref.ref(variant), stream
        _made[name] += 1
        return variant

    return make


def live() -> list[str]:
    """Name the shuffles that exist."""
    for name in [name for name, (variant, _) in _streams.items() if variant() is None]:
        del _streams[name]
    return list(_streams)


def is_gone(name: str) -> bool:
    """Return whether a shuffle existed in this process and was deleted."""
    seeds, _, number = name.rpartition(" ")
    return name not in live() and _made[seeds] > int(number)


def positions(names: Iterable[str]) -> Positions:
    """Read positions; no iterator may draw from these shuffles in a thread meanwhile."""
    return {name: _streams[name][1].position() for name in names if name in _streams}


def seek(wanted: Positions) -> None:
    """Set positions of the shuffles that exist."""
    for name, position in wanted.items():
        if name in _streams:
            _streams[name][1].seek(position)


class Draws:
    """Describe how an iterator over a dataset draws from shuffles.

    Attributes:
        names: shuffles that it draws from.
        later: those that it draws from while it is read, not only when it begins.
        raced: those that several threads draw from, in an order that differs each time.
        cached: those that it draws from only until a cache is filled.
    """

    def __init__(self, dataset: Any) -> None:
        self._of_variant = {id(variant()): name for name, (variant, _) in _streams.items()}
        self.names: set[str] = set()
        self.later: set[str] = set()
        self.raced: set[str] = set()
        self._uncached: set[str] = set()
        self._threads: dict[str, set[frozenset[int]]] = {}
        self._paths = 0
        if dataset is not None and self._of_variant:
            self._walk(dataset, later=False, cached=False, threads=frozenset())
        self.raced |= {name for name in self.later if len(self._threads[name]) > 1}

    @property
    def cached(self) -> set[str]:
        return self.names - self._uncached

    def _walk(self, node: Any, *, later: bool, cached: bool, threads: frozenset[int]) -> None:
        self._paths += 1
        if self._paths > _MOST_PATHS:
            return
        name = self._of_variant.get(id(getattr(node, "_variant_tensor", None)))
        if name is not None:
            self.names.add(name)
            self._threads.setdefault(name, set()).add(threads)
            if later:
                self.later.add(name)
            if not cached:
                self._uncached.add(name)
        parallel = graph.is_parallel(node)
        within = threads | {id(node)} if parallel else threads
        eager = graph.begins_inputs(node) or hasattr(node, "_original_dataset")
        cached = cached or graph.kind(node) == "Cache"
        for below in graph.inputs(node):
            self._walk(below, later=later or not eager, cached=cached, threads=within)
        for below in graph.captured(node):
            if parallel:
                self.raced |= Draws(below).names
            self._walk(below, later=True, cached=cached, threads=within)
