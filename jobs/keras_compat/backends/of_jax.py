"""Private parts of Keras 3 on JAX.

A step is a function of the state: while an epoch runs, the values of variables are arguments and
results of that function, and ``jax_state_sync`` puts them back.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from keras.src.backend.jax import trainer as _trainer

from rekindle.jobs.keras_compat.backends import eager
from rekindle.jobs.keras_compat.backends.eager import (
    begin_passes_by,
    bind_logs,
    build,
    iterator_arguments,
    scope,
    trace,
)

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
    "converted",
    "iterator_arguments",
    "scope",
    "settle",
    "trace",
    "watch_traces",
]

TRAINER: Final[Any] = _trainer.JAXTrainer
NAME: Final = "jax"
ITERATOR: Final = "JAXEpochIterator"
MODULE: Final[Any] = _trainer
TRACES: Final = True
"""True if the Python code of a step runs once, and not at each step."""
BATCH_BY_BATCH: Final = False

_JAX: Final[Any] = _trainer.jax
_PLAIN: Final[Any] = _trainer.JAXEpochIterator


class Reader(eager.Reader):
    """Read batches as Keras does; it may read one or two ahead, in the same thread."""

    def __init__(self, iterator: Any, strategy: Any) -> None:
        super().__init__(iterator, _begin)


def _begin(iterator: Any) -> Iterator[Any]:
    return iter(_PLAIN._get_iterator(iterator))


def batches_of(iterator: Any) -> Any:
    """Return what Keras' own iterator iterates over in each pass."""
    return eager.Passes(lambda: _begin(iterator))


def converted(sliceable: Any, rows: Any) -> Any:
    """Return rows of an array as Keras' step takes them."""
    return sliceable.convert_to_jax_compatible(sliceable[rows])


def watch_traces(watched: Callable[[Any], Any]) -> None:
    """Let Keras compile ``watched(step)`` in place of the step of a model; once."""
    if isinstance(_trainer.jax, _Watched):
        return
    seen = _trainer.jax = _Watched(watched)
    if hasattr(_trainer, "jit"):  # since Keras 3.11
        _trainer.jit = seen.jit


class _Watched:
    """JAX, as Keras' trainer sees it."""

    def __init__(self, watched: Callable[[Any], Any]) -> None:
        self._watched = watched

    def jit(self, function: Any = None, **options: Any) -> Any:
        if function is None:
            return lambda one: self.jit(one, **options)
        return _JAX.jit(self._watched(function), **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(_JAX, name)


def buffers(model: Any) -> list[Any]:
    """List nothing: only modules of PyTorch have buffers."""
    return []


def settle(model: Any) -> None:
    """Put the current values back into the variables of a model, within an epoch."""
    model.jax_state_sync()
