"""What of a training cannot be made exact, found by looking at the graphs that TensorFlow traced.

An operation that keeps random state inside of TensorFlow cannot be put back: a new process
begins its sequence anew. In a data pipeline that is right, since the pass is read again
from its start, unless several threads draw from it in whatever order they run.
"""

from collections.abc import Iterator
from typing import Any, Final

import tensorflow as tf

_RANDOM: Final = {
    "RandomUniform",
    "RandomUniformInt",
    "RandomStandardNormal",
    "TruncatedNormal",
    "RandomShuffle",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "SampleDistortedBoundingBox",
    "SampleDistortedBoundingBoxV2",
    "RandomCrop",
    "FractionalMaxPool",
    "FractionalAvgPool",
}
_SHARED: Final = {"RngReadAndSkip", "StatefulUniform", "StatefulStandardNormalV2"}
_PYTHON: Final = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def of_data(dataset: Any, draws_from_layers: bool) -> list[str]:
    """Sentences about a ``tf.data.Dataset``, each with the way on.

    Args:
        draws_from_layers: random layers of Keras are among its functions.
    """
    found = []
    random_in_threads = python = False
    for node in nodes(dataset):
        parallel = type(node).__name__.lstrip("_").startswith(("Parallel", "LegacyParallel"))
        for graph in _graphs(node):
            kinds = _kinds(graph)
            drawing = kinds & (_RANDOM | _SHARED) or (draws_from_layers and graph.variables)
            random_in_threads |= parallel and bool(drawing)
            python |= bool(kinds & _PYTHON)
    if random_in_threads:
        found.append(
            "The data pipeline draws random numbers in parallel threads, in whatever "
            "order they run; use tf.random.stateless_* with a seed from the data, or "
            "leave out num_parallel_calls in that map."
        )
    if python:
        found.append(
            "The data pipeline calls a Python function, which is exact only where its "
            "result depends on nothing but its arguments; else write it in TensorFlow."
        )
    options = getattr(dataset, "options", None)
    if options is not None and options().deterministic is False:
        found.append(
            "The data pipeline may give its elements in another order each time; remove "
            "options.deterministic = False."
        )
    return found


def of_step(function: Any, known: list[Any]) -> list[str]:
    """Sentences about a traced training step.

    Args:
        function: ``model.train_function``.
        known: TensorFlow variables that a checkpoint holds.
    """
    kinds: set[str] = set()
    strangers: dict[str, None] = {}
    handles = {id(variable.handle) for variable in known if hasattr(variable, "handle")}
    for concrete in _concrete(function):
        kinds |= _kinds(concrete.graph)
        for variable in concrete.graph.variables:
            # the iterator's own and constants of a compilation have no name of the script's
            if hasattr(variable, "handle") and id(variable.handle) not in handles:
                strangers[variable.name.partition(":")[0]] = None
    found = []
    if kinds & _RANDOM:
        found.append(
            f"The training step draws random numbers with {_listed(kinds & _RANDOM)}, "
            "whose state TensorFlow does not give away; use keras.random with a "
            "keras.random.SeedGenerator, or tf.random.Generator."
        )
    if kinds & _PYTHON:
        found.append(
            "The training step calls a Python function, which is exact only where its "
            "result depends on nothing but its arguments; else write it in TensorFlow."
        )
    if strangers:
        found.append(
            f"The training step uses variables that belong to no model, optimizer or "
            f"callback ({', '.join(list(strangers)[:3])}); make them attributes of the "
            "model."
        )
    return found


def of_process() -> list[str]:
    """Sentences about how this process computes."""
    from tensorflow.python.framework import config

    if tf.config.list_physical_devices("GPU") and not config.is_op_determinism_enabled():
        return [
            (
                "The GPU may add in another order each time; call tf.config.experimental."
                "enable_op_determinism() at the start of the script."
            )
        ]
    return []


def nodes(dataset: Any) -> Iterator[Any]:
    """A dataset and everything it is made of."""
    queue, seen = [dataset], set()
    while queue:
        current = queue.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            queue.extend(_call(current, "_inputs"))


def functions(dataset: Any) -> list[Any]:
    """The concrete functions of one node of a dataset."""
    found = (getattr(wrapper, "function", None) for wrapper in _call(dataset, "_functions"))
    return [function for function in found if function is not None]


def _graphs(dataset: Any) -> list[Any]:
    return [function.graph for function in functions(dataset) if hasattr(function, "graph")]


def _concrete(function: Any) -> list[Any]:
    """Concrete functions behind the plain function that Keras makes."""
    queue, seen, found = [function], set(), []
    while queue:
        current = queue.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if hasattr(current, "_list_all_concrete_functions"):
            found.extend(current._list_all_concrete_functions())
        queue.extend(
            cell.cell_contents
            for cell in getattr(current, "__closure__", None) or ()
            if callable(cell.cell_contents)
        )
    return found


def _kinds(graph: Any) -> set[str]:
    """Types of the operations in a graph and in the functions it calls."""
    kinds: set[str] = set()
    queue, seen = [graph], set()
    while queue:
        current = queue.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        kinds |= {operation.type for operation in current.get_operations()}
        queue.extend(
            function.graph
            for function in getattr(current, "_functions", {}).values()
            if hasattr(function, "graph")
        )
    return kinds


def _call(dataset: Any, name: str) -> list[Any]:
    method = getattr(dataset, name, None)
    try:
        return list(method()) if callable(method) else []
    except NotImplementedError:
        return []


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
