"""Data of a loop that the script writes itself: batches whose position can be found again.

How a position is found depends on what the data is:

- arrays and ``PyDataset``: the order of each pass is drawn from (seed, stage, pass), so that
  any batch can be the first one, at no cost;
- ``tf.data``: as many iterators are made as before (each draws the next shuffle), and the
  batches that were taken are read again from the last one, and dropped;
- any other iterable, or a function that returns one: it is begun again with the random state
  that the pass began with, and the batches that were taken are drawn again.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import NotPlain, Tensors, decode, encode
from rekindle.jobs.data import fast_forward as seek
from rekindle.jobs.data import pipeline
from rekindle.jobs.data.shuffle import order
from rekindle.state.errors import StateMismatch, UsageError

_OWN_RANDOM = (random.Random, np.random.Generator, np.random.RandomState)


class Batches:
    """Batches of one source, pass after pass.

    ``for batch in batches`` is one pass; ``next(batches)`` goes on with the next pass where
    one is over. Both begin where the checkpoint was.

    Args:
        index: its number in the loop.
        source: arrays (one, or a tuple, list or dict of them, equally long) with a
            ``batch_size``; a ``tf.data.Dataset``; a ``PyDataset``; any iterable; a function
            without arguments that returns one.
        shuffle: of arrays and ``PyDataset``; the others shuffle by themselves.
        began: called when a pass begins, before anything is drawn.
    """

    def __init__(
        self,
        index: int,
        source: Any,
        batch_size: int | None,
        shuffle: bool,
        began: Callable[[], None],
    ) -> None:
        self.source = source
        # what the order of arrays is drawn from, with the number of the pass
        self.key = (0, index)
        self.passes = 0
        self.taken = 0
        self.piped: list[int] = []
        # called while a pass is read again; it may end the process
        self.beat: Callable[[], None] = lambda: None
        self._index = index
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._began = began
        self._iterator: Iterator[Any] | None = None
        self._resumed = False
        self._begin: dict[str, Any] = {}
        self._begin_tensors: Tensors = {}
        self._look_at_source()

    def __iter__(self) -> Iterator[Any]:
        """One pass, or what is left of it in the first epoch after a relaunch."""
        self.open()
        try:
            while True:
                try:
                    batch = self.take()
                except StopIteration:
                    return
                yield batch
        finally:
            # one that was left by `break` is not gone on with
            self.close()

    def __next__(self) -> Any:
        """The next batch, of the next pass where one is over."""
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
                    "The data has no batch left and cannot be begun again.",
                    hint="Give a tf.data.Dataset, arrays, or a function that returns a new "
                    "generator, not a generator.",
                ) from None

    def open(self) -> None:
        """Begins a pass, or goes on with the one of the checkpoint."""
        if self._resumed:
            self._resumed = False
            return
        self._began()
        self._iterator = self._from(0)

    def take(self) -> Any:
        """
        Raises:
            StopIteration: the pass is over.
        """
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._iterator = None
            self.taken = 0
            raise
        self.taken += 1
        return batch

    def close(self) -> None:
        """The pass is over, whether or not all of it was taken."""
        self._iterator = None
        self._resumed = False
        self.taken = 0

    def renew(self, source: Any) -> None:
        """The script gives its data once more, for the next pass.

        Raises:
            UsageError: it is another dataset, of which nobody can tell how often it was begun.
        """
        if source is self.source:
            return
        if isinstance(source, tf.data.Dataset | tf.distribute.DistributedDataset):
            raise UsageError(
                "Another tf.data.Dataset was given than in the last epoch.",
                hint="Make it once, before the loop, or give a function that makes it: "
                "batches(make_dataset).",
            )
        self.source = source
        self._look_at_source()

    @property
    def plan(self) -> dict[str, Any]:
        """What must be the same in every attempt, as JSON."""
        plan: dict[str, Any] = {"kind": type(self.source).__name__}
        if self._batch_size is not None:
            plan |= {
                "kind": "arrays",
                "samples": self._samples,
                "batch_size": self._batch_size,
                "shuffle": self._shuffle,
            }
        return plan

    # what a checkpoint holds

    def position(self, tensors: Tensors) -> dict[str, Any]:
        """Where the next batch is, as JSON and arrays."""
        live = self._iterator is not None
        if live:
            tensors.update(self._begin_tensors)
        return {
            "plan": self.plan,
            "passes": self.passes,
            "taken": self.taken,
            "live": live,
            "begin": self._begin if live else {},
        }

    def check(self, position: dict[str, Any]) -> None:
        """
        Raises:
            StateMismatch: the data is another than in the checkpoint.
        """
        for key, value in position["plan"].items():
            if self.plan.get(key) != value:
                raise StateMismatch(
                    f"The data has changed since the checkpoint was made: {key} was {value} and "
                    f"is {self.plan.get(key)}.",
                    hint="Give the same data in the same order of calls in every attempt.",
                )

    def replay(self) -> None:
        """A pass that is over: draws its shuffle from the source."""
        self.passes += 1
        if isinstance(self.source, tf.data.Dataset | tf.distribute.DistributedDataset):
            iter(self.source)
        elif isinstance(self.source, keras.utils.PyDataset):
            self.source.on_epoch_begin()
            self.source.on_epoch_end()

    def seek(self, position: dict[str, Any], tensors: Tensors) -> None:
        """The pass in which the checkpoint was made: goes to the batch after those taken."""
        begin = position["begin"]
        rng.restore_seed_states(begin["seeds"], tensors)
        rng.restore({**begin["random"], "seeds": []}, tensors)
        if "own" in begin:
            self.source.load_state_dict(decode(begin["own"], tensors))
        for name, value in begin["generators"].items():
            decode(value, tensors, vars(self.source).get(name))
        self._iterator = self._from(position["taken"])
        self._resumed = True

    def _from(self, first: int) -> Iterator[Any]:
        """A pass from batch ``first`` on."""
        self._note_begin()
        number = self.passes
        self.passes += 1
        self.taken = first
        source = self.source
        if self._batch_size is not None:
            return self._array_batches(number, first)
        if isinstance(source, keras.utils.PyDataset):
            return self._dataset_batches(number, first)
        if not hasattr(source, "__iter__"):
            source = source()
        made: Iterator[Any] = iter(source)
        if first and isinstance(source, tf.data.Dataset | tf.distribute.DistributedDataset):
            seek.forward(made, first, self.beat)
        elif first:
            seek.draw(made, first, self.beat)
        return made

    def _note_begin(self) -> None:
        tensors: Tensors = {}
        prefix = f"data/{self._index}"
        self._begin = {
            "random": rng.capture(tensors, f"{prefix}/random", only=[]),
            "seeds": rng.seed_states(tensors, f"{prefix}/seeds", only=self.piped),
            "generators": {
                name: encode(value, tensors, f"{prefix}/own/{name}")
                for name, value in getattr(self.source, "__dict__", {}).items()
                if isinstance(value, _OWN_RANDOM)
            },
        }
        if hasattr(self.source, "state_dict") and hasattr(self.source, "load_state_dict"):
            try:
                self._begin["own"] = encode(self.source.state_dict(), tensors, f"{prefix}/dict")
            except NotPlain as error:
                raise UsageError(
                    f"The state_dict of the data holds {error}.",
                    hint="Return plain data and arrays from it.",
                ) from error
        self._begin_tensors = tensors

    def _look_at_source(self) -> None:
        source = self.source
        if self._batch_size is not None:
            lengths = {len(array) for array in keras.tree.flatten(source)}
            if len(lengths) != 1:
                raise UsageError(
                    f"The arrays have different lengths: {sorted(lengths)}.",
                    hint="Give arrays with one entry for each sample.",
                )
            self._samples = lengths.pop()
        elif isinstance(source, np.ndarray | tf.Tensor):
            raise UsageError(
                "Arrays were given without a batch_size.",
                hint="Write batches((x, y), batch_size=32).",
            )
        elif isinstance(source, tf.data.Dataset):
            self.piped = pipeline.seed_generators(source)

    def _array_batches(self, number: int, first: int) -> Iterator[Any]:
        size = self._batch_size or 1
        rows = order(self.key, number, self._samples, size, self._shuffle)
        for start in range(first * size, self._samples, size):
            chosen = rows[start : start + size]
            yield keras.tree.map_structure(
                lambda array, chosen=chosen: (
                    tf.gather(array, chosen) if tf.is_tensor(array) else array[chosen]
                ),
                self.source,
            )

    def _dataset_batches(self, number: int, first: int) -> Iterator[Any]:
        self.source.on_epoch_begin()
        count = self.source.num_batches
        if count is None:
            raise UsageError(
                "A PyDataset without a length cannot be begun in its middle.",
                hint="Give it __len__, or use a generator.",
            )
        rows = order(self.key, number, count, 1, self._shuffle)
        for index in rows[first:]:
            yield self.source[int(index)]
        self.source.on_epoch_end()
