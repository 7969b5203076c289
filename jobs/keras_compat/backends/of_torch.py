"""Private parts of Keras 3 on PyTorch."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from keras.src.backend.torch import trainer as _trainer
from keras.src.backend.torch.core import convert_to_numpy
from keras.src.backend.torch.core import convert_to_tensor as _to_tensor
from keras.src.trainers.data_adapters.torch_data_loader_adapter import TorchDataLoaderAdapter
from keras.src.utils.torch_utils import TorchModuleWrapper as _Wrapper

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

TRAINER: Final[Any] = _trainer.TorchTrainer
NAME: Final = "torch"
ITERATOR: Final = "TorchEpochIterator"
MODULE: Final[Any] = _trainer
TRACES: Final = False
"""True if the Python code of a step runs once, and not at each step."""
BATCH_BY_BATCH: Final = True


class Reader(eager.Reader):
    """Read batches as Keras does."""

    def __init__(self, iterator: Any, strategy: Any) -> None:
        super().__init__(iterator, _begin)


def _begin(iterator: Any) -> Iterator[Any]:
    loader = iterator.data_adapter.get_torch_dataloader()
    if isinstance(iterator.data_adapter, TorchDataLoaderAdapter):
        return iter(loader)
    # of Keras' own loader only the dataset: the loader would draw a seed that nothing uses
    return iter(getattr(loader, "dataset", loader))


def batches_of(iterator: Any) -> Any:
    """Return what Keras' own iterator iterates over in each pass."""
    # each time another one: that of a PyDataset or a generator is read once
    return eager.Passes(lambda: iter(iterator.data_adapter.get_torch_dataloader()))


def converted(sliceable: Any, rows: Any) -> Any:
    """Return rows of an array as Keras' step takes them."""
    return _to_tensor(sliceable.convert_to_torch_compatible(sliceable[rows]))


def buffers(model: Any) -> list[Any]:
    """List the buffers of modules of PyTorch in a model, e.g. statistics, which Keras does not."""
    found = []
    for layer in model._flatten_layers():
        module = getattr(layer, "module", None) if isinstance(layer, _Wrapper) else None
        named = layer.named_buffers(recurse=False) if module is None else module.named_buffers()
        found += [_Buffer(f"{layer.path or layer.name}/{name}", one) for name, one in named]
    return found


class _Buffer:
    """A tensor, with the attributes of a variable of Keras."""

    trainable = False

    def __init__(self, path: str, tensor: Any) -> None:
        self.path = self.name = path
        self.shape = tuple(tensor.shape)
        self.dtype = str(tensor.dtype).removeprefix("torch.")
        self.value = tensor

    def numpy(self) -> Any:
        return convert_to_numpy(self.value).copy()

    def assign(self, value: Any) -> None:
        self.value.copy_(_to_tensor(value))


def settle(model: Any) -> None:
    """Do nothing: variables always have their values."""


def watch_traces(watched: Callable[[Any], Any]) -> None:
    """Do nothing: each step runs the Python code."""
