"""Private parts of Keras 3 on TensorFlow."""

from collections.abc import Callable
from typing import Any, Final

import tensorflow as tf
from keras import KerasTensor
from keras.src.backend.tensorflow import trainer as _trainer

from rekindle.jobs.keras_compat.backends.distributed import Reader

__all__ = [
    "BATCH_BY_BATCH",
    "ITERATOR",
    "MODULE",
    "NAME",
    "TRACES",
    "TRAINER",
    "Reader",
    "batches_of",
    "begin_passes_by",
    "bind_logs",
    "buffers",
    "build",
    "iterator_arguments",
    "scope",
    "settle",
    "trace",
    "watch_traces",
]

TRAINER: Final[Any] = getattr(_trainer, "TensorFlowTrainer", None) or _trainer.Trainer
"""Base class of models; Keras 3.16 renames it."""
NAME: Final = "tensorflow"
ITERATOR: Final = "TFEpochIterator"
MODULE: Final[Any] = _trainer
TRACES: Final = True
"""True if the Python code of a step runs once, and not at each step."""
BATCH_BY_BATCH: Final = False
"""True if Keras guards each batch against the end of the data, and not a whole epoch."""


def batches_of(iterator: Any) -> Any:
    """Return what Keras' own iterator iterates over in each pass."""
    return iterator._distributed_dataset


def bind_logs(module: Any) -> None:
    """Do nothing: ``fit`` always has logs."""


def begin_passes_by(iterator: Any, passes: Any) -> None:
    """Let Keras' own iterator begin each pass by ``iter(passes)``."""
    iterator._distributed_dataset = passes


def iterator_arguments(model: Any) -> dict[str, Any]:
    """Return what ``fit`` passes to its iterator on this backend alone."""
    return {"distribute_strategy": model.distribute_strategy}


def scope(model: Any) -> Any:
    """Return the context in which a model creates variables."""
    return model.distribute_strategy.scope()


def build(model: Any, data: Any) -> None:
    """Create the variables of a compiled model, its optimizer, loss and metrics; Keras' own way.

    Args:
        data: the iterator over training data.
    """
    model._symbolic_build(data_batch=_batch_of(data.element_spec))


def trace(model: Any, data: Any) -> None:
    """Trace a step without running it: it creates variables that no build knows of."""
    tf.function(model.train_step).get_concrete_function(data.element_spec)


def _batch_of(spec: Any) -> Any:
    """Convert the shapes of a batch for Keras' symbolic build; unknown sizes stay unknown."""
    return tf.nest.map_structure(
        lambda s: (
            KerasTensor(tuple(s.shape), s.dtype.name) if isinstance(s, tf.TensorSpec) else None
        ),
        spec,
    )


def buffers(model: Any) -> list[Any]:
    """List nothing: only modules of PyTorch have buffers."""
    return []


def settle(model: Any) -> None:
    """Do nothing: variables always have their values."""


def watch_traces(watched: Callable[[Any], Any]) -> None:
    """Do nothing: the traces of TensorFlow itself are watched."""
