"""Walk a ``tf.data`` pipeline: its datasets, its functions, and the datasets that these capture."""

import functools
import weakref
from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs.keras_compat.tensorflow_parts import (
    dataset_ops,
    gen_dataset_ops,
    gen_experimental_dataset_ops,
)

_of_variant: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()

_BEGINS_ITS_INPUTS: Final = frozenset(
    {
        "AssertCardinality",
        "Batch",
        "DirectedInterleave",
        "Filter",
        "FlatMap",
        "Interleave",
        "Map",
        "Options",
        "PaddedBatch",
        "ParallelBatch",
        "ParallelInterleave",
        "ParallelMap",
        "Prefetch",
        "Rebatch",
        "Scan",
        "Shard",
        "Shuffle",
        "Skip",
        "Take",
        "TakeWhile",
        "Unbatch",
        "Window",
        "Zip",
    }
)
"""Datasets whose iterator begins all of its inputs when it is created, and none later."""

_unordered: dict[int, "weakref.ref[Any]"] = {}
"""Variants of datasets that return results as they become ready."""


def watch() -> None:
    """Register each dataset, so that one that a function captures can be found."""
    plain = dataset_ops.DatasetV2.__init__

    def init(self: Any, variant_tensor: Any) -> None:
        plain(self, variant_tensor)
        _of_variant[id(variant_tensor)] = self

    dataset_ops.DatasetV2.__init__ = init
    for module in (gen_dataset_ops, gen_experimental_dataset_ops):
        for name in [name for name in vars(module) if "parallel_" in name]:
            if name.partition("parallel_")[0] in ("", "legacy_"):
                setattr(module, name, _noting_order(getattr(module, name)))


def _noting_order(plain: Any) -> Any:
    @functools.wraps(plain)
    def make(*args: Any, **kwargs: Any) -> Any:
        variant = plain(*args, **kwargs)
        if kwargs.get("deterministic") == "false":
            _unordered[id(variant)] = weakref.ref(variant)
        return variant

    return make


def is_unordered(node: Any) -> bool:
    """Return whether a dataset returns results as they become ready."""
    variant = getattr(node, "_variant_tensor", None)
    known = _unordered.get(id(variant))
    return known is not None and known() is variant


def kind(node: Any) -> str:
    """Name the kind of a dataset: Shuffle, Map, Cache."""
    return type(node).__name__.lstrip("_").removesuffix("V1").removesuffix("Dataset")


def is_parallel(node: Any) -> bool:
    """Return whether a dataset reads its input, or calls its function, in other threads."""
    return kind(node).startswith(("Parallel", "LegacyParallel", "Prefetch"))


def begins_inputs(node: Any) -> bool:
    """Return whether an iterator begins all inputs of this dataset when it is created."""
    return kind(node) in _BEGINS_ITS_INPUTS


def nodes(dataset: Any) -> Iterator[Any]:
    """Iterate over a dataset and all datasets below it."""
    queue, seen = [dataset], set()
    while queue:
        current = queue.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            queue.extend(inputs(current))
            queue.extend(captured(current))


def inputs(node: Any) -> list[Any]:
    """List the inputs of a dataset."""
    original = getattr(node, "_original_dataset", None)  # of a distributed dataset
    return _call(node, "_inputs") if original is None else [original]


def captured(node: Any) -> list[Any]:
    """List the datasets that functions of a dataset capture."""
    found = []
    for function in functions(node):
        for tensor in getattr(function, "captured_inputs", ()):
            dataset = dataset_of(tensor)
            if dataset is not None:
                found.append(dataset)
    return found


def dataset_of(variant: Any) -> Any:
    """Return the dataset of a variant tensor; None if it does not exist any more."""
    dataset = _of_variant.get(id(variant))
    return dataset if dataset is not None and dataset._variant_tensor is variant else None


def functions(node: Any) -> list[Any]:
    """List the concrete functions of one dataset."""
    found = (getattr(wrapper, "function", None) for wrapper in _call(node, "_functions"))
    return [function for function in found if function is not None]


def graphs(node: Any) -> list[Any]:
    """List the graphs of the functions of one dataset."""
    return [function.graph for function in functions(node) if hasattr(function, "graph")]


def _call(node: Any, name: str) -> list[Any]:
    method = getattr(node, name, None)
    try:
        return list(method()) if callable(method) else []
    except NotImplementedError:
        return []
