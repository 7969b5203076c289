"""Caches in memory behind something random: fill them in a relaunch as they were filled first.

``cache()`` keeps the order, and the random numbers, of the first pass that reads it to its end. So
the state before that pass is in each checkpoint, and a relaunch reads that pass once more, from
there, before anything else reads the cache. A cache behind nothing random needs none of this.
"""

import contextlib
import functools
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.pipeline import fast_forward, graph, shuffles
from rekindle.jobs.data.pipeline.below import Below, State, is_same
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.keras_compat.tensorflow_parts import (
    dataset_ops,
    gen_dataset_ops,
    iterator_ops,
    multi_device_iterator_ops,
    tf,
)

_caches: dict[str, "_Cache"] = {}
_waiting: dict[str, State] = {}
"""States of caches that earlier attempts have filled, by name."""
_made: "Counter[str]" = Counter()
_busy: list[str] = []


class _Cache:
    """Hold a cache, and the state from which it was filled.

    Args:
        variant: the tensor of the dataset.
        below: the input of the dataset.
    """

    def __init__(self, name: str, variant: Any, below: Any) -> None:
        self.name = name
        self.variant = weakref.ref(variant)
        self._below = Below(below)
        self.begin: State | None = None
        self.complete = False

    def before_iterator(self) -> None:
        """Note the state before an iterator begins, unless the cache is complete."""
        if self.complete:
            return
        now = self._below.state
        if self.begin is None or not self._is_filled(now):
            self.begin = now
        else:
            self.complete = True

    def _is_filled(self, now: State) -> bool:
        """Read an element: only a cache that is not complete draws for it."""
        next(iter(self._dataset()), None)
        after = self._below.state
        if is_same(now, after):
            return True
        self._below.put(now)
        return False

    def fill(self, begin: State, beat: Callable[[], None]) -> None:
        """Read the cache to its end from the state of the first attempt."""
        now, began = self._below.state, time.monotonic()
        self._below.put(begin)
        dataset = self._dataset()
        fast_forward.forward(iter(dataset), 1 << 60, beat)
        self._below.put(now)
        self.begin, self.complete = begin, True
        count = int(dataset.cardinality())
        elements = f"{count} elements" if count >= 0 else "all elements"
        log_line(
            f"cache() filled again: {elements} read in {time.monotonic() - began:.1f} s, since "
            "it is behind a shuffle or random numbers."
        )

    def _dataset(self) -> Any:
        return graph.dataset_of(self.variant())


def watch() -> None:
    """Note each cache in memory that something random is below, and each iterator over one."""
    gen_dataset_ops.cache_dataset_v2 = _noting_cache(gen_dataset_ops.cache_dataset_v2)
    for owner, name in (
        (iterator_ops.OwnedIterator, "__init__"),
        (multi_device_iterator_ops.OwnedMultiDeviceIterator, "__init__"),
        (dataset_ops.DatasetV2, "reduce"),
    ):
        setattr(owner, name, _noting_iterator(getattr(owner, name)))


def _noting_cache(plain: Any) -> Any:
    @functools.wraps(plain)
    def make(input_dataset: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
        variant = plain(input_dataset, filename, *args, **kwargs)
        if tf.executing_eagerly() and not filename.numpy() and shuffles.supported():
            below = graph.dataset_of(input_dataset)
            name = None if below is None else _name(below)
            if name is not None:
                name = f"{name}/{_made[name]}"
                _caches[name] = _Cache(name, variant, below)
                _made[name.rpartition("/")[0]] += 1
        return variant

    return make


def _name(below: Any) -> str | None:
    """Name a cache after what is random below it; None if nothing is."""
    words = Below(below).words
    return ", ".join(words) if words else None


def _noting_iterator(plain: Any) -> Any:
    @functools.wraps(plain)
    def begin(self: Any, *args: Any, **kwargs: Any) -> Any:
        dataset = kwargs.get("dataset", args[0] if args else None)
        if isinstance(self, dataset_ops.DatasetV2):
            dataset = self
        if _caches and dataset is not None and not _busy and tf.executing_eagerly():
            before_iterator(dataset)
        return plain(self, *args, **kwargs)

    return begin


def within(dataset: Any) -> list[_Cache]:
    """List the caches of a dataset that something random is below."""
    variants = {
        id(cache.variant()): cache for cache in _caches.values() if cache.variant() is not None
    }
    if not variants or dataset is None:
        return []
    found = (variants.get(id(getattr(n, "_variant_tensor", None))) for n in graph.nodes(dataset))
    return [cache for cache in found if cache is not None]


def before_iterator(dataset: Any) -> None:
    """Fill the caches of a dataset that wait for it; note the state of the others."""
    fill(dataset, lambda: None)
    _busy.append("")
    try:
        for cache in within(dataset):
            cache.before_iterator()
    finally:
        _busy.pop()


def fill(dataset: Any, beat: Callable[[], None]) -> int:
    """Fill the caches of a dataset that earlier attempts had filled; return their number.

    Args:
        beat: called while data is read; may end the process.
    """
    waiting = [cache for cache in within(dataset) if cache.name in _waiting]
    _busy.append("")
    try:
        for cache in reversed(waiting):  # the lowest first
            cache.fill(_waiting.pop(cache.name), beat)
    finally:
        _busy.pop()
    return len(waiting)


def finish(iterator: Any, dataset: Any) -> None:
    """Let an iterator whose batches are all read see its end: only then a cache is complete."""
    if within(dataset):
        with contextlib.suppress(StopIteration, tf.errors.OutOfRangeError):
            next(iterator)


def capture(arrays: Tensors) -> Json:
    """Return the states of all complete caches, and of those that still wait."""
    known = {
        **{name: one.begin for name, one in _caches.items() if one.complete and one.begin},
        **_waiting,
    }
    kept: Json = {}
    for number, (name, (state, values)) in enumerate(known.items()):
        prefix = f"caches/{number}"
        arrays.update({f"{prefix}/{key}": value for key, value in values.items()})
        kept[name] = {**state, "prefix": prefix}
    return kept


def load(kept: Json, arrays: Tensors) -> None:
    """Let the caches that an earlier attempt had filled wait for their first iterator."""
    for name, state in kept.items():
        cache = _caches.get(name)
        if cache is not None and not cache.complete:
            prefix = f"{state['prefix']}/"
            values = {
                key.removeprefix(prefix): value
                for key, value in arrays.items()
                if key.startswith(prefix)
            }
            _waiting[name] = {k: v for k, v in state.items() if k != "prefix"}, values
