"""Find what cannot be restored exactly in the graphs that TensorFlow traced.

The state of an operation that keeps random state inside of TensorFlow cannot be restored: a
new process starts its sequence from the beginning. In a data pipeline that is correct, since the
pass is read again from its start, unless several threads draw from it in an unknown order.
"""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.data.pipeline import graph, held, shuffles
from rekindle.jobs.data.pipeline.variables import seed_generators
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.tensorflow_parts import PRESENT, tf

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
_OUTSIDE: Final = {"NonDeterministicInts"}
_UNORDERED: Final = "an operation that returns results as they become ready"
_CLOCK: Final = {"Timestamp"}
_TABLE_CHANGES: Final = ("LookupTableInsert", "LookupTableRemove", "LookupTableImport")
_PYTHON: Final = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}

_IN_THREADS: Final = Caveat(
    "The data pipeline draws random numbers in parallel threads, in an order "
    "that differs each time",
    "use tf.random.stateless_* with a seed from the data, or remove "
    "num_parallel_calls from that map",
)
_RACED: Final = Caveat(
    "Several threads of the data pipeline draw from one shuffle, in an order that differs each "
    "time, as rejection_resample does",
    "shuffle after that operation, or pass shuffle(..., reshuffle_each_iteration=False)",
)
SHARED_SHUFFLE: Final = Caveat(
    "Several iterators draw from one shuffle while they are read ahead, in an order that differs "
    "each time",
    "make a dataset with a shuffle of its own for each iterator, or pass "
    "shuffle(..., reshuffle_each_iteration=False)",
)
_CACHED: Final = Caveat(
    "The data pipeline shuffles or draws random numbers before cache(), and a relaunch fills the "
    "cache with different ones",
    "put cache() before shuffle() and before random functions",
)
_ORDER: Final = Caveat(
    "The data pipeline may return the results of a parallel function in another order each time",
    "remove deterministic=False",
)
_FROM_OUTSIDE: Final = Caveat(
    "The data pipeline draws numbers that differ each time",
    "use tf.random.stateless_* with a seed from the data",
)
_OF_THE_CLOCK: Final = Caveat(
    "The data pipeline reads the clock, which differs each time",
    "take a seed from the data instead of tf.timestamp()",
)
_TABLE: Final = Caveat(
    "The data pipeline changes a lookup table, whose content before the pass is not restored",
    "keep the counts in a tf.Variable, or fill the table before the training",
)
_GPU_ORDER: Final = "The GPU may add in another order each time"
_GPUS: Final = {
    "jax": 'set `env = { XLA_FLAGS = "--xla_gpu_deterministic_ops=true" }` in the spec',
    "torch": "call torch.use_deterministic_algorithms(True) at the start of the script",
}
_SNAPSHOT: Final = Caveat(
    "The data pipeline reads a snapshot that an earlier attempt may have written",
    "use cache() instead of snapshot()",
)


def of_data(dataset: Any, *, fills_caches: bool) -> list[Caveat]:
    """Find caveats in the functions of a ``tf.data.Dataset``.

    Args:
        fills_caches: a relaunch fills caches as they were filled first.
    """
    draws_from_generators = bool(seed_generators(dataset))
    found: dict[Caveat, None] = {}
    for node in graph.nodes(dataset):
        name = graph.kind(node)
        parallel = name.startswith(("Parallel", "LegacyParallel"))
        for inner in graph.graphs(node):
            kinds = _kinds(inner)
            draws = bool(kinds & (_RANDOM | _SHARED)) or (
                draws_from_generators and bool(inner.variables)
            )
            if parallel and draws:
                found[_IN_THREADS] = None
            if kinds & _OUTSIDE:
                found[_FROM_OUTSIDE] = None
            if kinds & _CLOCK:
                found[_OF_THE_CLOCK] = None
            if any(kind.startswith(_TABLE_CHANGES) for kind in kinds):
                found[_TABLE] = None
            if _UNORDERED in kinds:
                found[_ORDER] = None
            if kinds & _PYTHON:
                found[_python("data pipeline")] = None
        if name == "Snapshot":
            found[_SNAPSHOT] = None
        if graph.is_unordered(node):
            found[_ORDER] = None
    if not fills_caches and _caches_draws(dataset):
        found[_CACHED] = None
    if shuffles.Draws(dataset).raced:
        found[_RACED] = None
    options = getattr(dataset, "options", None)
    if options is not None and options().deterministic is False:
        found[
            Caveat(
                "The data pipeline may return its elements in another order each time",
                "remove options.deterministic = False",
            )
        ] = None
    return list(found)


def _caches_draws(dataset: Any) -> bool:
    """Return whether a cache is behind a shuffle, or behind generators of layers."""
    return any(
        graph.kind(node) == "Cache"
        and (
            any(graph.kind(one) == "Shuffle" for one in graph.nodes(node)) or seed_generators(node)
        )
        for node in graph.nodes(dataset)
    )


def of_graphs(graphs: Iterable[Any], known: list[Any], home: str) -> list[Caveat]:
    """Find caveats in the graphs of a training step.

    Args:
        known: TensorFlow variables that are in the checkpoint.
        home: instruction by which a variable gets into the checkpoint.
    """
    kinds: set[str] = set()
    strangers: dict[str, None] = {}
    known = [*known, *held.counters()]
    handles = {id(variable.handle) for variable in known if hasattr(variable, "handle")}
    for traced in graphs:
        kinds |= _kinds(traced)
        for variable in traced.variables:
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
    if internals.BACKEND in _GPUS:
        return _of_other_gpus(internals.BACKEND)
    if not PRESENT or internals.BACKEND != "tensorflow":
        return []
    from tensorflow.python.framework import config

    if tf.config.list_physical_devices("GPU") and not config.is_op_determinism_enabled():
        remedy = "call tf.config.experimental.enable_op_determinism() at the start of the script"
        return [Caveat(_GPU_ORDER, remedy)]
    return []


def _of_other_gpus(backend: str) -> list[Caveat]:
    """Find what lets a GPU of JAX or PyTorch compute otherwise each time."""
    library: Any = sys.modules.get(backend)
    if library is None:
        return []
    if backend == "jax":
        is_exact = library.default_backend() == "cpu" or "gpu_deterministic_ops=true" in (
            os.environ.get("XLA_FLAGS", "")
        )
    else:
        is_exact = not library.cuda.is_available() or (
            library.are_deterministic_algorithms_enabled()
        )
    return [] if is_exact else [Caveat(_GPU_ORDER, _GPUS[backend])]


def checked(look: Callable[[], list[Caveat]]) -> list[Caveat]:
    """Return what ``look`` finds in graphs; log its failure and find nothing.

    It reads internals of TensorFlow: a failure must not end the training.
    """
    try:
        return look()
    except Exception as error:
        log_line(f"training step not checked for caveats: {error!r}.")
        return []


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
        for operation in current.get_operations():
            kinds.add(operation.type)
            if (
                "deterministic" in operation.node_def.attr
                and operation.get_attr("deterministic") == b"false"
            ):
                kinds.add(_UNORDERED)
        queue.extend(
            function.graph
            for function in getattr(current, "_functions", {}).values()
            if hasattr(function, "graph")
        )
    return kinds


def _python(where: str) -> Caveat:
    return Caveat(
        f"The {where} calls a Python function, which is exact only where its result depends on "
        "nothing but its arguments",
        "write it in TensorFlow",
    )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
