"""Sources of a ``fit`` of Keras 3 on JAX and PyTorch: batches from plain Python iterators."""

import functools
from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import loader_random, sampler
from rekindle.jobs.data.pipeline import fast_forward
from rekindle.jobs.data.shuffle import order
from rekindle.jobs.data.sources import OrderedSource, Pass, Source
from rekindle.jobs.keras_compat.backends.eager import Begun
from rekindle.jobs.keras_compat.keras3 import BACKEND_PARTS, TFDatasetAdapter, array_slicing, tree

_LATE: Final = Caveat(
    "TensorFlow was imported after the first training of this process, and shuffles of tf.data are "
    "not restored",
    "import tensorflow at the top of the script",
)
_OTHER: Final = Caveat(
    "Data of this kind is read again from the start of a pass, and what it draws from other "
    "generators than those of Python, numpy and PyTorch is not restored",
    "let it draw from a generator that it makes from a seed and the index, or use a PyDataset",
)
_READS: Final = ("get_numpy_iterator", "get_jax_iterator", "get_torch_dataloader")


class EagerArrays(OrderedSource):
    """Read the arrays of Keras' adapter, in an order of our own."""

    _inputs: Any = None
    _begun: tuple[int, int] = (0, 0)

    def open(self) -> None:
        for name in _READS:
            # Keras' own iterator adds what its backend does with batches
            setattr(self.adapter, name, self._batches)
        super().open()

    def plan(self) -> Json:
        return {
            "the number of samples": self.adapter._num_samples,
            "the batch size": self.adapter._batch_size,
            "shuffle": str(self.adapter._shuffle),
        }

    def begin_pass(self, number: int, first: int) -> Pass:
        self._begun = number, first
        return Pass(iter(self._distributed))

    def _batches(self) -> Iterator[Any]:
        """Read the pass that was begun last."""
        return self._read(*self._begun)

    def _read(self, number: int, first: int) -> Iterator[Any]:
        adapter = self.adapter
        size, shuffle = adapter._batch_size, adapter._shuffle
        rows = order(self._seed, number, adapter._num_samples, size, shuffle)
        if self._inputs is None:
            self._inputs = array_slicing.convert_to_sliceable(adapter._inputs, BACKEND_PARTS.NAME)
        for start in range(first * size, adapter._num_samples, size):
            chosen: Any = rows[start : start + size]
            if not shuffle:  # as Keras does: a view
                chosen = slice(start, min(start + size, adapter._num_samples))
            yield tree.map_structure(functools.partial(_converted, rows=chosen), self._inputs)


def _converted(sliceable: Any, rows: Any) -> Any:
    return None if sliceable is None else BACKEND_PARTS.converted(sliceable, rows)


class ReplayedSource(Source):
    """Read a ``DataLoader`` again, from the random state in which its pass began.

    A pass draws, and starts workers, when its first batch is asked for.
    """

    def __init__(self, adapter: Any, reader: Any, beat: Any) -> None:
        super().__init__(adapter, reader, beat)
        self._begin: Json = {}
        self._begin_arrays: Tensors = {}
        self._plain: Any = getattr(adapter, "_dataloader", None)
        self._loader = loader_random.LoaderRandom(self._plain)

    def skip_pass(self) -> None:
        pass

    def begin_pass(self, number: int, first: int) -> Pass:
        loader = self._plain
        if loader is not None:
            self.adapter._dataloader = loader
        begins = sampler.begin(loader, number, first)
        if not first:
            return Pass(self._pass())
        rng.restore({**self._begin["random"], "seeds": []}, self._begin_arrays)
        self._loader.restore(self._begin["loader"], self._begin_arrays)
        if begins:
            # begun now, since that draws a seed
            self.adapter._dataloader = Begun(loader, iter(loader))
            return Pass(iter(self._distributed))
        iterator = self._pass()
        fast_forward.draw(iterator, first, self._beat)
        return Pass(iterator)

    def _pass(self) -> Iterator[Any]:
        arrays: Tensors = {}
        self._begin = {
            "random": rng.capture(arrays, "draws/random", only=[]),
            "loader": self._loader.capture(arrays, "draws/loader"),
        }
        self._begin_arrays = arrays
        yield from self._distributed

    def draws(self, arrays: Tensors) -> Json:
        arrays.update(self._begin_arrays)
        return {"replayed": self._begin, "loader": self._loader.capture(arrays, "draws/now")}

    def load_draws(self, draws: Json, arrays: Tensors) -> None:
        self._begin = draws["replayed"]
        self._begin_arrays = {k: v for k, v in arrays.items() if k.startswith("draws/")}

    def load_own(self, draws: Json, arrays: Tensors) -> None:
        self._loader.restore(draws["loader"], arrays)

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        if isinstance(self.adapter, TFDatasetAdapter):
            return [_LATE]
        if not hasattr(self.adapter, "_dataloader"):
            return [_OTHER]
        return [*self._loader.caveats(), *sampler.caveats(self._plain)]
