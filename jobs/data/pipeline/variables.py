"""Variables of a pipeline's functions: seed generators of layers, and variables of the script."""

from typing import Any

import numpy as np

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.data.pipeline import graph
from rekindle.jobs.keras_compat.tensorflow_parts import tf


def seed_generators(dataset: Any) -> list[int]:
    """Return the numbers of the seed generators that functions of a dataset capture."""
    handles = {
        id(handle)
        for node in graph.nodes(dataset)
        for function in graph.functions(node)
        for handle in getattr(function, "captured_inputs", ())
    }
    return [
        number
        for number, generator in rng.generators()
        if any(id(one.handle) in handles for one in rng.replicas_of(generator))
    ]


class PipelineVariables:
    """Capture and restore the variables of the script that functions of a dataset use.

    Attributes:
        counted: those that the functions change. They are drawn ahead like the data, so that only
            their values at the start of a pass count.
    """

    def __init__(self, dataset: Any) -> None:
        seeds = {id(rng.variable_of(generator)) for _, generator in rng.generators()}
        found: dict[int, Any] = {}
        self.counted: set[int] = set()
        for node in graph.nodes(dataset) if dataset is not None else ():
            for inner in graph.graphs(node):
                changes = _assigns(inner)
                for variable in inner.variables:
                    if hasattr(variable, "handle") and id(variable) not in seeds:
                        number = next(
                            (n for n, v in enumerate(found.values()) if v is variable), len(found)
                        )
                        found[id(variable)] = variable
                        if changes:
                            self.counted.add(number)
        self._variables = list(found.values())

    def __bool__(self) -> bool:
        return bool(self._variables)

    def capture(self, arrays: Tensors, prefix: str) -> int:
        """Copy the values into ``arrays``; return their number."""
        for number, variable in enumerate(self._variables):
            arrays[f"{prefix}/{number}"] = np.array(variable.numpy(), copy=True)
        return len(self._variables)

    def restore(self, arrays: Tensors, prefix: str, *, counted: bool) -> None:
        """Assign the values.

        Args:
            counted: also those that the functions change.
        """
        for number, variable in enumerate(self._variables):
            value = arrays.get(f"{prefix}/{number}")
            fits = value is not None and value.shape == tuple(variable.shape)
            if fits and (counted or number not in self.counted):
                variable.assign(tf.constant(value, variable.dtype))


def _assigns(inner: Any) -> bool:
    """Return whether a graph, or one that it calls, assigns a variable."""
    queue, seen = [inner], set()
    while queue:
        current = queue.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if any(one.type.startswith("Assign") for one in current.get_operations()):
            return True
        queue.extend(
            function.graph
            for function in getattr(current, "_functions", {}).values()
            if hasattr(function, "graph")
        )
    return False
