"""Find what cannot be restored exactly in the graphs that TensorFlow traced.

The state of an operation that keeps random state inside of TensorFlow cannot be restored: a
new process starts its sequence from the beginning. In a data pipeline that is correct, since the
pass is read again from its start, unless several threads draw from it in an unknown order.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import tensorflow as tf

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.journal_writer import log_line

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


def of_data(dataset: Any, *, draws_from_generators: bool) -> list[Caveat]:
    """Find caveats in the functions of a ``tf.data.Dataset``."""
    found = []
    random_in_threads = python = drawn_before_cache = False
    cached = {id(below) for node in nodes(dataset) if _is_cache(node) for below in nodes(node)}
    for node in nodes(dataset):
        name = type(node).__name__.lstrip("_")
        parallel = name.startswith(("Parallel", "LegacyParallel"))
        drawing = name.startswith("Shuffle")
        for graph in _graphs(node):
            kinds = _kinds(graph)
            draws = bool(kinds & (_RANDOM | _SHARED)) or (
                draws_from_generators and bool(graph.variables)
            )
            random_in_threads |= parallel and draws
            drawing |= draws
            python |= bool(kinds & _PYTHON)
        drawn_before_cache |= drawing and id(node) in cached
    if random_in_threads:
        found.append(
            Caveat(
                "The data pipeline draws random numbers in parallel threads, in an order "
                "that differs each time",
                "use tf.random.stateless_* with a seed from the data, or remove "
                "num_parallel_calls from that map",
            )
        )
    if drawn_before_cache:
        found.append(
            Caveat(
                "The data pipeline shuffles or draws random numbers before cache(), and a "
                "relaunch fills the cache with different ones",
                "put cache() before shuffle() and before random functions",
            )
        )
    if python:
        found.append(_python("data pipeline"))
    options = getattr(dataset, "options", None)
    if options is not None and options().deterministic is False:
        found.append(
            Caveat(
                "The data pipeline may return its elements in another order each time",
                "remove options.deterministic = False",
            )
        )
    return found


def of_graphs(graphs: Iterable[Any], known: list[Any], home: str) -> list[Caveat]:
    """Find caveats in the graphs of a training step.

    Args:
        known: TensorFlow variables that are in the checkpoint.
        home: instruction by which a variable gets into the checkpoint.
    """
    kinds: set[str] = set()
    strangers: dict[str, None] = {}
    handles = {id(variable.handle) for variable in known if hasattr(variable, "handle")}
    for graph in graphs:
        kinds |= _kinds(graph)
        for variable in graph.variables:
            # variables of the iterator and constants of a compilation have no handle
            if hasattr(variable, "handle") and id(variable.handle) not in handles:
                strangers[variable.name.partition(":")[0]] = None
    found = []
    if kinds & _RANDOM:
        found.append(
            Caveat(
                f"The training step draws random numbers with {_listed(kinds & _RANDOM)}, "
                "whose state TensorFlow does not expose",
                "use keras.random with a keras.random.SeedGenerator, or tf.random.Generator",
            )
        )
    if kinds & _PYTHON:
        found.append(_python("training step"))
    if strangers:
        found.append(
            Caveat(
                "The training step uses variables that are in no checkpoint "
                f"({', '.join(list(strangers)[:3])})",
                home,
            )
        )
    return found


def of_process() -> list[Caveat]:
    """Find caveats in the settings of this process."""
    from tensorflow.python.framework import config

    if tf.config.list_physical_devices("GPU") and not config.is_op_determinism_enabled():
        return [
            Caveat(
                "The GPU may add in another order each time",
                "call tf.config.experimental.enable_op_determinism() at the start of the script",
            )
        ]
    return []


def checked(look: Callable[[], list[Caveat]]) -> list[Caveat]:
    """Return what ``look`` finds in graphs; log its failure and find nothing.

    It reads internals of TensorFlow: a failure must not end the training.
    """
    try:
        return look()
    except Exception as error:
        log_line(f"training step not checked for caveats: {error!r}.")
        return []


def seed_generators(dataset: Any) -> list[int]:
    """Return the numbers of the seed generators that functions of a dataset capture.

    Prefetching advances these, so they are restored to the start of a pass over the data, and
    the pass is read again.
    """
    handles = {
        id(handle)
        for node in nodes(dataset)
        for function in functions(node)
        for handle in getattr(function, "captured_inputs", ())
    }
    return [
        number
        for number, generator in rng.generators()
        if id(rng.variable_of(generator).handle) in handles
    ]


def graphs_of(function: Any) -> list[Any]:
    """Return the graphs of the function that Keras builds from a step."""
    return [concrete.graph for concrete in _concrete(function)]


def writes(graph: Any, variables: list[Any]) -> bool:
    """Return whether a graph itself assigns one of these variables."""
    handles = {id(variable.handle) for variable in variables if hasattr(variable, "handle")}
    inside = {id(inner) for outer, inner in graph.captures if id(outer) in handles}
    return any(
        operation.type.startswith(("Assign", "ResourceApply"))
        and any(id(one) in inside for one in operation.inputs)
        for operation in graph.get_operations()
    )


def nodes(dataset: Any) -> Iterator[Any]:
    """Iterate over a dataset and all its inputs."""
    queue, seen = [dataset], set()
    while queue:
        current = queue.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            queue.extend(_call(current, "_inputs"))


def functions(dataset: Any) -> list[Any]:
    """List the concrete functions of one node of a dataset."""
    found = (getattr(wrapper, "function", None) for wrapper in _call(dataset, "_functions"))
    return [function for function in found if function is not None]


def _graphs(dataset: Any) -> list[Any]:
    return [function.graph for function in functions(dataset) if hasattr(function, "graph")]


def _concrete(function: Any) -> list[Any]:
    """Find the concrete functions in the closures of the function that Keras builds."""
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
    """Return the types of the operations in a graph and in the functions it calls."""
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


def _is_cache(node: Any) -> bool:
    return type(node).__name__.lstrip("_").startswith("Cache")


def _python(where: str) -> Caveat:
    return Caveat(
        f"The {where} calls a Python function, which is exact only where its result depends on "
        "nothing but its arguments",
        "write it in TensorFlow",
    )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
