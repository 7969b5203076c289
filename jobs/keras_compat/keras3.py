"""All uses of private parts of Keras 3, and of what legacy Keras has under another name."""

import argparse
import contextlib
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import keras
from keras.src import tree as _tree
from keras.src.backend.common import global_state
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.random import seed_generator as _seed_generator
from keras.src.trainers.data_adapters import (
    array_data_adapter,
    generator_data_adapter,
    py_dataset_adapter,
    tf_dataset_adapter,
)
from keras.src.trainers.data_adapters import array_slicing as _array_slicing
from keras.src.trainers.epoch_iterator import EpochIterator
from keras.src.utils import rng_utils as _rng_utils

from rekindle.jobs.keras_compat import followed, keras_support, loops, parts
from rekindle.jobs.keras_compat.keras_support import LOOP, Support

__all__ = [
    "BACKEND",
    "GLOBAL_GENERATOR",
    "HELD_LAYERS",
    "HELD_VARIABLES",
    "KERAS_VARIABLES",
    "LEGACY",
    "OPTIMIZERS",
    "OWN_NAMES",
    "PLAIN_FIT",
    "PLAIN_ITERATOR",
    "SEED_GENERATORS",
    "TRACES",
    "KerasTensor",
    "PyDataset",
    "TFDatasetAdapter",
    "buffers",
    "build",
    "build_optimizer",
    "carry_logs",
    "compiled_parts",
    "epoch_iterator",
    "existing_global_generator",
    "flatten",
    "follows",
    "forget_carried_logs",
    "generator_of",
    "has_workers",
    "initial_epoch",
    "is_built",
    "is_optimizer_built",
    "iterator_arguments",
    "keras",
    "make_global_generator",
    "map_structure",
    "metrics_variables",
    "model_variables",
    "number_of_batches",
    "optimizer_variables",
    "own_random",
    "renew_summary_step",
    "replace_fit",
    "replace_generator",
    "scope",
    "set_initial_epoch",
    "settings",
    "settle",
    "start_workers",
    "support",
    "trace",
    "trainable_variables",
    "watch_traces",
]

_NOTHING: Final = argparse.Namespace()
BACKEND: Final = followed.backend_of(keras)
TENSORFLOW: Final = keras_support.BACKEND
if TYPE_CHECKING or BACKEND == "tensorflow":
    from rekindle.jobs.keras_compat.backends import of_tensorflow as backend
elif BACKEND == "jax":
    from rekindle.jobs.keras_compat.backends import of_jax as backend
else:
    from rekindle.jobs.keras_compat.backends import of_torch as backend
BACKEND_PARTS: Final[Any] = backend
_TRAINER: Final[Any] = backend.TRAINER
"""Base class of models."""

PLAIN_FIT: Final[Callable[..., Any]] = _TRAINER.fit
PLAIN_ITERATOR: Final[Any] = getattr(backend.MODULE, backend.ITERATOR)
"""Keras' own ``fit`` and iterator, as of the import."""
BASE_ITERATOR: Final[Any] = EpochIterator
LEGACY: Final = False
tree: Final[Any] = _tree
array_slicing: Final[Any] = _array_slicing
ArrayDataAdapter: Final[Any] = array_data_adapter.ArrayDataAdapter
GeneratorDataAdapter: Final[Any] = generator_data_adapter.GeneratorDataAdapter
PyDatasetAdapter: Final[Any] = py_dataset_adapter.PyDatasetAdapter
TFDatasetAdapter: Final[Any] = tf_dataset_adapter.TFDatasetAdapter
SEED_GENERATORS: Final[tuple[Any, ...]] = (_seed_generator.SeedGenerator,)
KERAS_VARIABLES: Final[tuple[Any, ...]] = (keras.Variable,)
OPTIMIZERS: Final[tuple[Any, ...]] = (BaseOptimizer,)
PyDataset: Final[Any] = keras.utils.PyDataset
KerasTensor: Final[Any] = keras.KerasTensor
# of a module of PyTorch: Keras sets it in each epoch
OWN_NAMES: Final[frozenset[str]] = frozenset({"training"} if BACKEND == "torch" else ())
TRACES: Final[bool] = backend.TRACES
HELD_VARIABLES: Final = ("_trainable_variables", "_non_trainable_variables", "_variables")
HELD_LAYERS: Final = "_layers"
flatten: Final[Callable[[Any], list[Any]]] = keras.tree.flatten
map_structure: Final[Callable[..., Any]] = keras.tree.map_structure

_PARTS: Final = parts.KERAS3[BACKEND]
_RELEASE: Final = parts.family(keras.__version__, _PARTS)
Loop: Final[Any] = loops.of(_RELEASE)
PlainLoop: Final[Any] = loops.plain_of(_RELEASE)

GLOBAL_GENERATOR: Final = "global_seed_generator"
"""Keras' name of the generator used by everything without one of its own."""


def support(groups: Iterable[str] = _PARTS.groups) -> Support:
    """Decide how this Keras is followed, on its backend.

    Args:
        groups: of functions to look at; a trainer looks at a kind of data once it has any.
    """
    unknown = {group: parts.unknown(group, _PARTS) for group in groups}
    return keras_support.decide(
        keras.__version__, BACKEND, unknown=unknown if parts.has_source(_PARTS) else None
    )


def follows(data: Any, targets: Any = None) -> bool:
    """Return whether a ``fit`` with these data can begin at any batch; otherwise at any epoch."""
    if not parts.has_source(_PARTS):
        return keras.__version__ in _PARTS.tested
    return not parts.unknown(LOOP, _PARTS) and not parts.unknown(_group_of(data), _PARTS)


def _group_of(data: Any) -> str:
    if isinstance(data, types.GeneratorType):
        return parts.GENERATORS
    if isinstance(data, PyDataset):
        return parts.PY_DATASETS
    # late: it decides whether there is a TensorFlow
    from rekindle.jobs.keras_compat.tensorflow_parts import tf

    if isinstance(data, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        return parts.DATASETS
    of_loaders = parts.LOADERS in _PARTS.groups and is_loader(data)
    return parts.LOADERS if of_loaders else parts.ARRAYS


def is_loader(data: Any) -> bool:
    """Return whether data is a ``DataLoader`` of PyTorch, or of another library than TensorFlow."""
    return any(
        one.__name__ in ("DataLoader", "MapDataset", "IterDataset")
        and one.__module__.partition(".")[0] in ("torch", "grain")
        for one in type(data).__mro__
    )


def generator_of(adapter: Any) -> Callable[[], Iterator[Any]]:
    """Return a function that continues the generator of Keras' adapter."""
    made = adapter.generator
    return made if callable(made) else lambda: made


def replace_generator(adapter: Any, follow: Callable[[], Iterator[Any]]) -> None:
    """Let Keras' adapter read from ``follow()``; before Keras 3.7 it iterates over an object."""
    adapter.generator = follow if callable(adapter.generator) else _Iterable(follow)


def start_workers(adapter: Any) -> None:
    """Start the workers that read a ``PyDataset``, if it has any."""
    if adapter.enqueuer is not None:
        epoch = getattr(adapter, "_epoch", None)  # Keras 3.16 shuffles by its number
        adapter.enqueuer.start(*(() if epoch is None else (epoch,)))


def has_workers(adapter: Any) -> bool:
    """Return whether threads or processes read the ``PyDataset`` of an adapter."""
    return loops.has_workers(adapter)


def number_of_batches(dataset: Any) -> int | None:
    """Return the number of batches of a ``PyDataset``; None for one without end."""
    count: int | None = dataset.num_batches
    return count


class _Iterable:
    def __init__(self, follow: Callable[[], Iterator[Any]]) -> None:
        self._follow = follow

    def __iter__(self) -> Iterator[Any]:
        return self._follow()


def seed(number: int) -> None:
    """Seed all generators; TensorFlow is not imported for that."""
    is_loaded = "tensorflow" in sys.modules
    outer = _rng_utils.tf
    _rng_utils.tf = outer if is_loaded else argparse.Namespace(available=False)
    try:
        keras.utils.set_random_seed(number)
    finally:
        _rng_utils.tf = outer


def replace_fit(fit: Callable[..., Any]) -> Callable[[], None]:
    """Replace ``Model.fit``; return a function that undoes it."""
    _TRAINER.fit = fit

    def undo() -> None:
        _TRAINER.fit = PLAIN_FIT

    return undo


@contextlib.contextmanager
def epoch_iterator(make: Callable[..., Any]) -> Iterator[None]:
    """Let ``fit`` create its data iterators with ``make``, within the ``with`` block."""
    module, name = backend.MODULE, backend.ITERATOR
    outer = getattr(module, name)
    setattr(module, name, make)
    try:
        yield
    finally:
        setattr(module, name, outer)


def initial_epoch(model: Any) -> int | None:
    """Return the epoch at which Keras' loop begins; None if only the argument counts."""
    epoch: int | None = model._initial_epoch
    return epoch


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Set the epoch at which Keras' loop begins; it still applies after ``on_train_begin``."""
    model._initial_epoch = epoch


def is_built(model: Any) -> bool:
    """Return whether Keras' symbolic build of a compiled model has nothing to create."""
    parts = (getattr(model, name, None) for name in ("_compile_metrics", "_compile_loss"))
    return (
        getattr(model, "optimizer", None) is not None
        and all(layer.built for layer in model._flatten_layers())
        and all(part is None or part.built for part in (*parts, model.optimizer))
    )


def compiled_parts(model: Any) -> list[tuple[str, Any]]:
    """List optimizer, loss and metrics that a model was compiled with, and a name of each."""
    found: list[tuple[str, Any]] = [(".optimizer", vars(model).get("optimizer"))]
    losses = vars(vars(model).get("_compile_loss") or _NOTHING).get("_user_loss")
    metrics = vars(vars(model).get("_compile_metrics") or _NOTHING)
    for label, held in (
        (".loss", losses),
        (".metrics", metrics.get("_user_metrics")),
        (".weighted_metrics", metrics.get("_user_weighted_metrics")),
    ):
        parts = tree.flatten(held)
        found += [(f"{label}[{index}]", part) for index, part in enumerate(parts)]
    return [
        (label, part) for label, part in found if part is not None and not isinstance(part, str)
    ]


def model_variables(model: Any) -> list[Any]:
    """List weights, statistics and seeds of a model."""
    return list(model.variables)


def settings(model: Any) -> list[Any]:
    """List no variables: Keras 3 has none that hold what a model was compiled with."""
    return []


def trainable_variables(model: Any) -> list[Any]:
    """List the variables that an optimizer changes."""
    return list(model.trainable_variables)


def metrics_variables(model: Any) -> list[Any]:
    """List the variables of the compiled metrics of a model."""
    return list(model.metrics_variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """List all variables of an optimizer, its learning rate included."""
    return list(optimizer.variables)


def is_optimizer_built(optimizer: Any) -> bool:
    """Return whether an optimizer has created its variables."""
    return bool(optimizer.built)


def build_optimizer(optimizer: Any, variables: list[Any]) -> None:
    """Create the variables of an optimizer."""
    optimizer.build(variables)


def build(model: Any, data: Any) -> None:
    """Create the variables of a compiled model, its optimizer, loss and metrics; Keras' own way.

    Args:
        data: the iterator over training data.
    """
    backend.build(model, data)


def buffers(model: Any) -> list[Any]:
    """List what of the state of a model Keras does not: buffers of modules of PyTorch."""
    return backend.buffers(model)


def trace(model: Any, data: Any) -> None:
    """Trace a step without running it, where that creates variables; arguments as of build."""
    backend.trace(model, data)


def scope(model: Any) -> Any:
    """Return the context in which a model creates variables."""
    return backend.scope(model)


def watch_traces(watched: Callable[[Any], Any]) -> None:
    """Let Keras compile ``watched(step)`` where only the compiler knows when it runs the code."""
    backend.watch_traces(watched)


def settle(model: Any) -> None:
    """Put the current values into the variables of a model, if an epoch keeps them elsewhere."""
    backend.settle(model)


def iterator_arguments(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that ``fit`` would pass to its iterator."""
    data = (arguments["x"], arguments["y"], arguments["sample_weight"])
    if arguments["validation_split"] and arguments["validation_data"] is None:
        data, _ = array_slicing.train_validation_split(
            data, validation_split=arguments["validation_split"]
        )
    x, y, weight = data
    return {
        "x": x,
        "y": y,
        "sample_weight": weight,
        "batch_size": arguments["batch_size"],
        "steps_per_epoch": arguments["steps_per_epoch"],
        "shuffle": arguments["shuffle"],
        "class_weight": arguments["class_weight"],
        "steps_per_execution": model.steps_per_execution,
        **backend.iterator_arguments(model),
    }


def carry_logs(model: Any, logs: dict[str, Any]) -> None:
    """Let ``fit`` use these logs of the last batch in epochs that have no batch of their own.

    Keras' loop keeps them in a variable: data may have run out, or the epoch is resumed with no
    batch left.
    """
    plain = type(model)._get_metrics_result_or_logs

    def result(found: dict[str, Any]) -> Any:
        return plain(model, found or logs)

    backend.bind_logs(backend.MODULE)
    # not setattr: Keras' tracking would add it to the model
    model.__dict__["_get_metrics_result_or_logs"] = result


def forget_carried_logs(model: Any) -> None:
    """Remove what :func:`carry_logs` set."""
    model.__dict__.pop("_get_metrics_result_or_logs", None)


def existing_global_generator() -> Any:
    """Return Keras' global seed generator; None before its first use."""
    return global_state.get_global_attribute(GLOBAL_GENERATOR)


def own_random() -> Any:
    """Return the generator of Python that Keras draws seeds from; None: Keras 3 has none."""
    return None


def make_global_generator() -> None:
    """Create Keras' global seed generator, as its first use does."""
    _seed_generator.global_seed_generator()


def renew_summary_step(callback: Any) -> None:
    """Let a TensorBoard callback write summaries as of its restored batch.

    With a number as ``update_freq`` each batch pushes a writer that knows its own number, and
    decides by it whether summaries are written until the next batch: those of the epoch, too.
    """
    pushed = getattr(callback, "_prev_summary_state", None)
    push, pop = (getattr(callback, f"_{name}_writer", None) for name in ("push", "pop"))
    if pushed and push is not None and pop is not None:
        pop()
        push(callback._train_writer, callback._global_train_batch)
