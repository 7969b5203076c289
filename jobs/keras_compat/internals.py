"""All uses of private parts of Keras, in one place."""

import argparse
import contextlib
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import keras
import tensorflow as tf
from keras.src import tree
from keras.src.backend.common import global_state
from keras.src.backend.tensorflow import trainer as _trainer
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.random import seed_generator as _seed_generator
from keras.src.trainers.data_adapters import array_slicing
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

from rekindle.jobs.keras_compat import keras_support, loops, parts
from rekindle.jobs.keras_compat.keras_support import LOOP, Support
from rekindle.jobs.keras_compat.known import TESTED

__all__ = [
    "BASE_ITERATOR",
    "GLOBAL_GENERATOR",
    "PLAIN_FIT",
    "PLAIN_ITERATOR",
    "ArrayDataAdapter",
    "BaseOptimizer",
    "GeneratorDataAdapter",
    "Loop",
    "PlainLoop",
    "PyDatasetAdapter",
    "SeedGenerator",
    "TFDatasetAdapter",
    "array_slicing",
    "compiled_parts",
    "epoch_iterator",
    "existing_global_generator",
    "follows",
    "generator_of",
    "initial_epoch",
    "make_global_generator",
    "replace_fit",
    "replace_generator",
    "set_initial_epoch",
    "start_workers",
    "support",
    "tree",
    "without_validation_split",
]

_NOTHING: Final = argparse.Namespace()
_TRAINER: Final[Any] = getattr(_trainer, "TensorFlowTrainer", None) or _trainer.Trainer
"""Base class of models; Keras 3.16 renames it."""

PLAIN_FIT: Final[Callable[..., Any]] = _TRAINER.fit
PLAIN_ITERATOR: Final[Any] = TFEpochIterator
"""Keras' own ``fit`` and iterator, as of the import."""
BASE_ITERATOR: Final[Any] = EpochIterator
SeedGenerator: Final[Any] = _seed_generator.SeedGenerator

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


def follows(data: Any) -> bool:
    """Return whether a ``fit`` with these data can begin at any batch; otherwise at any epoch."""
    if not parts.has_source():
        return keras.__version__ in TESTED
    return not parts.unknown(LOOP) and not parts.unknown(_group_of(data))


def _group_of(data: Any) -> str:
    if isinstance(data, types.GeneratorType):
        return parts.GENERATORS
    if isinstance(data, keras.utils.PyDataset):
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


def without_validation_split(arguments: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return x, y and sample weights of ``fit`` without the part split off for validation."""
    data = (arguments["x"], arguments["y"], arguments["sample_weight"])
    if arguments["validation_split"] and arguments["validation_data"] is None:
        data, _ = array_slicing.train_validation_split(
            data, validation_split=arguments["validation_split"]
        )
    x, y, weight = data
    return x, y, weight


def existing_global_generator() -> Any:
    """Return Keras' global seed generator; None before its first use."""
    return global_state.get_global_attribute(GLOBAL_GENERATOR)


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
