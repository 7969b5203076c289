"""All uses of private parts of Keras 3, and of what legacy Keras has under another name."""

import argparse
import contextlib
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import keras
import tensorflow as tf
from keras.src import tree as _tree
from keras.src.backend.common import global_state
from keras.src.backend.tensorflow import trainer as _trainer
from keras.src.backend.tensorflow.trainer import TFEpochIterator
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

from rekindle.jobs.keras_compat import keras_support, loops, parts
from rekindle.jobs.keras_compat.keras_support import LOOP, Support
from rekindle.jobs.keras_compat.known import TESTED

__all__ = [
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
    "KerasTensor",
    "Policy",
    "PyDataset",
    "TFDatasetAdapter",
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
    "set_initial_epoch",
    "settings",
    "start_workers",
    "support",
    "trainable_variables",
]

_NOTHING: Final = argparse.Namespace()
_TRAINER: Final[Any] = getattr(_trainer, "TensorFlowTrainer", None) or _trainer.Trainer
"""Base class of models; Keras 3.16 renames it."""

PLAIN_FIT: Final[Callable[..., Any]] = _TRAINER.fit
PLAIN_ITERATOR: Final[Any] = TFEpochIterator
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
Policy: Final[Any] = keras.mixed_precision.DTypePolicy
OWN_NAMES: Final[frozenset[str]] = frozenset()
HELD_VARIABLES: Final = ("_trainable_variables", "_non_trainable_variables", "_variables")
HELD_LAYERS: Final = "_layers"
flatten: Final[Callable[[Any], list[Any]]] = keras.tree.flatten
map_structure: Final[Callable[..., Any]] = keras.tree.map_structure

_RELEASE: Final = parts.family(keras.__version__)
Loop: Final[Any] = loops.of(_RELEASE)
PlainLoop: Final[Any] = loops.plain_of(_RELEASE)

GLOBAL_GENERATOR: Final = "global_seed_generator"
"""Keras' name of the generator used by everything without one of its own."""


def support(groups: Iterable[str] = parts.GROUPS) -> Support:
    """Decide how this Keras is followed, on the TensorFlow backend.

    Args:
        groups: of functions to look at; a trainer looks at a kind of data once it has any.
    """
    unknown = {group: parts.unknown(group) for group in groups}
    return keras_support.decide(
        keras.__version__, keras_support.BACKEND, unknown=unknown if parts.has_source() else None
    )


def follows(data: Any, targets: Any = None) -> bool:
    """Return whether a ``fit`` with these data can begin at any batch; otherwise at any epoch."""
    if not parts.has_source():
        return keras.__version__ in TESTED
    return not parts.unknown(LOOP) and not parts.unknown(_group_of(data))


def _group_of(data: Any) -> str:
    if isinstance(data, types.GeneratorType):
        return parts.GENERATORS
    if isinstance(data, PyDataset):
        return parts.PY_DATASETS
    is_dataset = isinstance(data, tf.data.Dataset | tf.distribute.DistributedDataset)
    return parts.DATASETS if is_dataset else parts.ARRAYS


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


def replace_fit(fit: Callable[..., Any]) -> Callable[[], None]:
    """Replace ``Model.fit``; return a function that undoes it."""
    _TRAINER.fit = fit

    def undo() -> None:
        _TRAINER.fit = PLAIN_FIT

    return undo


@contextlib.contextmanager
def epoch_iterator(make: Callable[..., Any]) -> Iterator[None]:
    """Let ``fit`` create its data iterators with ``make``, within the ``with`` block."""
    outer, _trainer.TFEpochIterator = _trainer.TFEpochIterator, make
    try:
        yield
    finally:
        _trainer.TFEpochIterator = outer


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


def build(model: Any, spec: Any) -> None:
    """Create the variables of a compiled model, its optimizer, loss and metrics; Keras' own way.

    Args:
        spec: of a batch, as ``tf.TensorSpec``.
    """
    model._symbolic_build(data_batch=_batch_of(spec))


def _batch_of(spec: Any) -> Any:
    """Convert the shapes of a batch for Keras' symbolic build; unknown sizes stay unknown."""
    return tf.nest.map_structure(
        lambda s: (
            KerasTensor(tuple(s.shape), s.dtype.name) if isinstance(s, tf.TensorSpec) else None
        ),
        spec,
    )


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
        "distribute_strategy": model.distribute_strategy,
        "steps_per_execution": model.steps_per_execution,
    }


def carry_logs(model: Any, logs: dict[str, Any]) -> None:
    """Let ``fit`` use these logs of the last batch in epochs that have no batch of their own.

    Keras' loop keeps them in a variable: data may have run out, or the epoch is resumed with no
    batch left.
    """
    plain = type(model)._get_metrics_result_or_logs

    def result(found: dict[str, Any]) -> Any:
        return plain(model, found or logs)

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
