"""Data of a loop written in the script: batches whose position can be saved and restored.

How to seek depends on the kind of data:

- arrays and ``PyDataset``: the order of each pass is derived from (seed, stage, pass), so that
  a pass can begin at any batch, at no cost;
- ``tf.data``: the same number of iterators is created (each draws the next shuffle), and the
  batches already taken are read again from the last one and dropped;
- any other iterable, or a function that returns one: it is started again with the random state
  of the start of the pass, and the batches already taken are read again.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rekindle.jobs.bytecode import enumerations
from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import determinism, sampler
from rekindle.jobs.data.loader_random import LoaderRandom
from rekindle.jobs.data.pipeline import fast_forward
from rekindle.jobs.data.pipeline.variables import seed_generators
from rekindle.jobs.data.rng_tracker import held_generators
from rekindle.jobs.data.shuffle import order
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.tensorflow_parts import PRESENT, tf
from rekindle.jobs.proof import same_data
from rekindle.state.errors import UsageError
from rekindle.state.run.training_state import StreamState

_OWN_RANDOM = (random.Random, np.random.Generator, np.random.RandomState)


class LoopSource:
    """Provide batches of one source, from any batch of any pass on.

    Args:
        index: number of the source in the loop.
        data: arrays (one, or a tuple, list or dict of them, of equal length) with a
            ``batch_size``; a ``tf.data.Dataset``; a ``PyDataset``; any iterable; a function
            without arguments that returns one.
        shuffle: for arrays and ``PyDataset``; other data shuffles itself.

    Raises:
        UsageError: the arrays differ in length, or have no batch size.
    """

    def __init__(self, index: int, data: Any, batch_size: int | None, *, shuffle: bool) -> None:
        self.index = index
        self.data = data
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._samples = 0
        self.seed_generators: list[int] = []
        self.caveats: list[Caveat] = []
        if batch_size is not None:
            lengths = {len(array) for array in internals.flatten(data)}
            if len(lengths) != 1:
                raise UsageError(
                    f"The arrays have different lengths: {sorted(lengths)}.",
                    hint="Pass arrays with one entry for each sample.",
                )
            self._samples = lengths.pop()
        elif isinstance(data, np.ndarray | tf.Tensor):
            raise UsageError(
                "Arrays were given without a batch_size.",
                hint="Write batches((x, y), batch_size=32).",
            )
        elif isinstance(data, tf.data.Dataset):
            self.seed_generators = seed_generators(data)
            self.caveats = determinism.of_data(data, fills_caches=False)
        self._loader = LoaderRandom(data)
        self.caveats += [*self._loader.caveats(), *sampler.caveats(data)]

    def renewed(self, data: Any) -> "LoopSource":
        """Return the source of the next pass, for which the script passes its data again.

        Raises:
            UsageError: it is another dataset, whose number of passes is unknown.
        """
        if data is self.data:
            return self
        if _is_dataset(data):
            raise UsageError(
                "The tf.data.Dataset is not the one of the last epoch.",
                hint="Create it once, before the loop, or pass a function that creates it: "
                "batches(make_dataset).",
            )
        return LoopSource(self.index, data, self._batch_size, shuffle=self._shuffle)

    @property
    def plan(self) -> Json:
        """Description, as JSON, of what must be the same in every attempt."""
        plan: Json = {"kind": type(self.data).__name__}
        if self._batch_size is not None:
            plan |= {
                "kind": "arrays",
                "samples": self._samples,
                "batch_size": self._batch_size,
                "shuffle": self._shuffle,
            }
        return plan

    def skip_pass(self) -> None:
        """Skip a finished pass: draw its shuffle from the data."""
        if _is_dataset(self.data):
            iter(self.data)
        elif isinstance(self.data, internals.PyDataset):
            self.data.on_epoch_begin()
            self.data.on_epoch_end()

    def batches(
        self, seed: tuple[int, int], number: int, first: int, beat: Callable[[], None]
    ) -> Iterator[Any]:
        """Begin pass ``number`` at batch ``first``.

        Args:
            seed: determines the order of arrays, with the number of the pass.
            beat: called while data is read again; may end the process.
        """
        data = self.data
        if self._batch_size is not None:
            return self._array_batches(seed, number, first)
        if isinstance(data, internals.PyDataset):
            return self._dataset_batches(seed, number, first)
        if not hasattr(data, "__iter__"):
            data = data()
        if sampler.begin(data, number, first):
            return iter(data)
        made: Iterator[Any] = iter(data)
        if first and _is_dataset(data):
            fast_forward.forward(made, first, beat)
        elif first:
            fast_forward.draw(made, first, beat)
        return made

    def digest(self) -> str:
        """Digest the data that the script has passed: arrays, and lists of them."""
        if self._batch_size is not None or isinstance(self.data, list | tuple):
            return same_data.digest(self.data)
        return ""

    def compare(self, then: str) -> None:
        """Note a caveat if the data is not that of an earlier digest."""
        if then and (found := same_data.difference(then, self.data)) is not None:
            self.caveats.append(found)

    # the random state at the start of a pass

    def begin_state(self, arrays: Tensors) -> Json:
        """Copy the state at the start of a pass, as JSON and arrays."""
        prefix = f"data/{self.index}"
        state: Json = {
            "random": rng.capture(arrays, f"{prefix}/random", only=[]),
            "seeds": rng.seed_states(arrays, f"{prefix}/seeds", only=self.seed_generators),
            "generators": {
                name: encode(value, arrays, f"{prefix}/own/{name}")
                for name, value in self._generators().items()
            },
        }
        if data := self.digest():
            state["data"] = data
        if loader := self.now(arrays, "begin"):
            state["loader"] = loader
        if hasattr(self.data, "state_dict") and hasattr(self.data, "load_state_dict"):
            try:
                state["own"] = encode(self.data.state_dict(), arrays, f"{prefix}/dict")
            except Unsupported as error:
                raise UsageError(
                    f"The state_dict of the data contains {error}.",
                    hint="Return plain data and arrays from it.",
                ) from error
        return state

    def restore_begin(self, begin: Json, arrays: Tensors) -> None:
        """Restore what :meth:`begin_state` returned."""
        rng.restore_seed_states(begin["seeds"], arrays)
        rng.restore({**begin["random"], "seeds": []}, arrays)
        if "own" in begin:
            self.data.load_state_dict(decode(begin["own"], arrays))
        self.restore_now(begin.get("loader", {}), arrays)
        for name, value in begin["generators"].items():
            decode(value, arrays, self._generators().get(name))

    def _generators(self) -> dict[str, Any]:
        """Return the random generators of the data: its attributes, and those that it names."""
        held = getattr(self.data, "__dict__", {})
        own = {name: value for name, value in held.items() if isinstance(value, _OWN_RANDOM)}
        return {**held_generators(self.data), **own}

    def now(self, arrays: Tensors, name: str) -> Json:
        """Copy the states of the generators of a ``DataLoader``, as JSON and arrays."""
        return self._loader.capture(arrays, f"data/{self.index}/loader/{name}")

    def restore_now(self, loader: Json, arrays: Tensors) -> None:
        """Restore what :meth:`now` returned."""
        self._loader.restore(loader, arrays)

    def _array_batches(self, seed: tuple[int, int], number: int, first: int) -> Iterator[Any]:
        size = self._batch_size or 1
        rows = order(seed, number, self._samples, size, self._shuffle)
        for start in range(first * size, self._samples, size):
            chosen = rows[start : start + size]
            yield internals.map_structure(
                lambda array, chosen=chosen: (
                    tf.gather(array, chosen) if PRESENT and tf.is_tensor(array) else array[chosen]
                ),
                self.data,
            )

    def _dataset_batches(self, seed: tuple[int, int], number: int, first: int) -> Iterator[Any]:
        self.data.on_epoch_begin()
        count = self.data.num_batches
        if count is None:
            raise UsageError(
                "A PyDataset without a length cannot be resumed within a pass.",
                hint="Give it __len__, or use a generator.",
            )
        rows = order(seed, number, count, 1, self._shuffle)
        for index in rows[first:]:
            yield self.data[int(index)]
        self.data.on_epoch_end()


class Batches:
    """Iterate over the batches of one source, pass after pass.

    ``for batch in batches`` is one pass; ``next(batches)`` begins the next pass when one is
    over. Both begin at the position of the checkpoint.

    Args:
        began: called when a pass begins, before anything is drawn.
        seed: returns what determines the order of arrays; known once the loop runs.
        beat: called while data is read again; may end the process.
    """

    def __init__(
        self,
        source: LoopSource,
        began: Callable[[], None],
        seed: Callable[[], tuple[int, int]],
        beat: Callable[[], None],
    ) -> None:
        self.source = source
        self._passes = 0
        self._taken = 0
        self._began = began
        self._seed = seed
        self._beat = beat
        self._iterator: Iterator[Any] | None = None
        self._resumed = False
        self._begin: Json = {}
        self._begin_arrays: Tensors = {}

    def __iter__(self) -> Iterator[Any]:
        """Iterate over one pass, or the rest of it in the first epoch after a relaunch."""
        enumerations.advance(self.open())
        try:
            while True:
                try:
                    batch = self.take()
                except StopIteration:
                    return
                yield batch
        finally:
            # a pass left by `break` is over
            self.close()

    def __next__(self) -> Any:
        """Return the next batch; begin the next pass when one is over."""
        if self._iterator is None:
            self.open()
        self._resumed = False
        try:
            return self.take()
        except StopIteration:
            self.open()
            try:
                return self.take()
            except StopIteration:
                raise UsageError(
                    "The data has no batch left and cannot be started again.",
                    hint="Pass a tf.data.Dataset, arrays, or a function that returns a new "
                    "generator, not a generator.",
                ) from None

    def open(self) -> int:
        """Begin a pass, or resume the one of the checkpoint; return the batches already taken."""
        if self._resumed:
            self._resumed = False
            return self._taken
        self._began()
        self._iterator = self._from(0)
        return 0

    def take(self) -> Any:
        """Return the next batch.

        Raises:
            StopIteration: the pass is over.
        """
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._iterator = None
            self._taken = 0
            raise
        self._taken += 1
        return batch

    def close(self) -> None:
        """End the pass, even if batches of it are left."""
        self._iterator = None
        self._resumed = False
        self._taken = 0

    def renew(self, data: Any) -> None:
        """Set the data of the next pass, which the script passes again."""
        self.source = self.source.renewed(data)

    # content of a checkpoint

    def position(self, arrays: Tensors) -> StreamState:
        """Return the position of the next batch, as JSON and arrays."""
        live = self._iterator is not None
        if live:
            arrays.update(self._begin_arrays)
        return {
            "plan": self.source.plan,
            "passes": self._passes,
            "taken": self._taken,
            "live": live,
            "begin": self._begin if live else {},
            "loader": self.source.now(arrays, "now"),
        }

    def difference(self, position: StreamState) -> str | None:
        """Name the first mismatch between the data and the checkpoint."""
        plan = self.source.plan
        for key, value in position["plan"].items():
            if plan.get(key) != value:
                return f"{key} of the data was {value} and is {plan.get(key)}"
        return None

    def compare(self, position: StreamState) -> None:
        """Note a caveat if the script has made other data than that of the unfinished pass."""
        if "data" in position["begin"]:
            self.source.compare(position["begin"]["data"])
            self._begin = {**self._begin, "data": position["begin"]["data"]}

    def skip_pass(self) -> None:
        """Skip a finished pass."""
        self._passes += 1
        self.source.skip_pass()

    def seek(self, position: StreamState, arrays: Tensors) -> None:
        """Begin the pass of the checkpoint, at the batch after those taken."""
        self.source.restore_begin(position["begin"], arrays)
        self._iterator = self._from(position["taken"])
        self._resumed = True
        self.restore_own(position, arrays)

    def restore_own(self, position: StreamState, arrays: Tensors) -> None:
        """Restore the generators of a ``DataLoader`` as of the checkpoint."""
        self.source.restore_now(position.get("loader", {}), arrays)

    def _from(self, first: int) -> Iterator[Any]:
        arrays: Tensors = {}
        self._begin, self._begin_arrays = self.source.begin_state(arrays), arrays
        number = self._passes
        self._passes += 1
        self._taken = first
        return self.source.batches(self._seed(), number, first, self._beat)


def _is_dataset(data: Any) -> bool:
    return isinstance(data, tf.data.Dataset | tf.distribute.DistributedDataset)
