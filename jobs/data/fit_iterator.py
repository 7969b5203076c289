"""The one private hook of Keras: epoch iterators that know their position and can start there.

`fit` makes a ``TFEpochIterator`` for training and one for validation. The classes here do
the same in the same order, and beside that count what they have taken, so that a later
process can begin at the same batch:

- arrays and ``PyDataset``: the order of each pass is drawn from (seed, stage, pass), so
  that any batch can be the first one, at no cost;
- ``tf.data``: as many iterators are made as before (each draws the next shuffle), and the
  batches that were taken are read again from the last one, and dropped;
- generators: the batches that were taken are drawn again, from the random state that the
  first one was drawn from (:mod:`rekindle.jobs.data.rng_tracker`).

Source of what is followed: ``keras/src/trainers/epoch_iterator.py`` and
``keras/src/backend/tensorflow/trainer.py`` of the versions in
:mod:`rekindle.jobs.resume.keras_compat`.
"""

import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import keras
import tensorflow as tf
from keras.src import tree
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from keras.src.trainers.data_adapters import array_slicing
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.data import fast_forward as seek
from rekindle.jobs.data.py_dataset import Reordered
from rekindle.jobs.data.rng_tracker import GLOBAL, Draws, differing
from rekindle.jobs.data.shuffle import order

_IN_WORKERS: Final = (
    "The PyDataset draws random numbers in several workers, in whatever order they run; draw from "
    "a generator made from the index in __getitem__, or leave out workers and "
    "use_multiprocessing."
)

_given: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""Generators that were given to a `fit` of this process."""

Boundary = Callable[[int], None]


class TrainIterator(TFEpochIterator):  # type: ignore[misc]
    """Batches for `fit`, from any position on.

    Args:
        seed, stage: what the order of arrays is drawn from, with the number of the pass.
        arguments: those of ``TFEpochIterator``.
    """

    def __init__(
        self, seed: int, stage: int, *, distribute_strategy: Any, **arguments: Any
    ) -> None:
        self.boundary: Boundary = lambda steps: None
        self.pass_begins: Callable[[], None] = lambda: None
        self.beat: Callable[[], None] = lambda: None
        self.created = 0
        self.taken = 0
        self.epoch_step = 0
        self._seed = (seed, stage)
        self._start_step = 0
        self._pass_over = False
        self._inputs: Any = None
        self._begin_later: Callable[[], Any] | None = None
        self._ready: Iterator[Any] | None = None
        self._again: dict[str, Any] = {}
        self._drawn: list[str] = []
        self._draws = (
            Draws()
            if isinstance(arguments["x"], types.GeneratorType | keras.utils.PyDataset)
            else None
        )
        kept_inside = rng.fingerprint() if self._draws is not None else {}
        # not TFEpochIterator's own: it would put a second copy of arrays into memory
        EpochIterator.__init__(self, **arguments)
        self._distribute_strategy = distribute_strategy
        adapter = self.data_adapter
        self._arrays = isinstance(adapter, ArrayDataAdapter)
        self._reordered: Reordered | None = None
        self._dataset: Any = None
        self._distributed_dataset: Any = None
        if isinstance(adapter, PyDatasetAdapter):
            assert self._draws is not None
            self._draws.owner = adapter.py_dataset
            self._reordered = Reordered(adapter, self._seed, self._draws)
        if isinstance(adapter, GeneratorDataAdapter):
            self._follow_generator(adapter, arguments["x"])
        before = self._draws.now() if self._draws is not None else {}
        if not self._arrays:
            self._dataset = adapter.get_tf_dataset()
            self._distributed_dataset = self._distribute(self._dataset)
        if self._draws is not None:
            self._look_at_first_batches(before, kept_inside)

    def _follow_generator(self, adapter: Any, given: Any) -> None:
        draws, made = self._draws, adapter.generator
        assert draws is not None

        if given in _given:
            self._drawn.append(
                "An earlier fit was given the same generator and has read it ahead to a place that "
                "differs each time; make another one for each fit."
            )
        _given.add(given)

        def follow() -> Iterator[Any]:
            ready, self._ready = self._ready, None
            return draws.follow(made()) if ready is None else ready

        adapter.generator = follow

    def _look_at_first_batches(self, before: dict[str, Any], kept_inside: dict[str, bytes]) -> None:
        """Keras has drawn two batches, in this thread, to know their shapes."""
        # also one that was made meanwhile: Keras makes its global one at the first use
        if any(kept_inside.get(key) != state for key, state in rng.fingerprint().items()):
            self._drawn.append(
                "The data draws random numbers through Keras or TensorFlow, and is read ahead to "
                "a place that differs each time; let it draw from numpy."
            )
        if getattr(self.data_adapter, "enqueuer", None) is not None and differing(
            before, self._draws.now() if self._draws else {}
        ):
            self._drawn.append(_IN_WORKERS)

    @property
    def element_spec(self) -> Any:
        """Shapes and types of a batch, as ``tf.TensorSpec``."""
        return (
            self._array_dataset(0, 0).element_spec if self._arrays else (self._dataset.element_spec)
        )

    @property
    def dataset(self) -> Any:
        """The ``tf.data.Dataset`` behind it, None for arrays."""
        return self._dataset

    @property
    def plan(self) -> dict[str, Any]:
        """What of the data must be the same in every attempt, as JSON."""
        adapter = self.data_adapter
        plan = {
            "the kind of data": type(adapter).__name__.removesuffix("Adapter"),
            "the number of batches": self.num_batches,
            "steps_per_execution": self.steps_per_execution,
        }
        if self._arrays:
            plan |= {
                "the number of samples": adapter._num_samples,
                "the batch size": adapter._batch_size,
                "shuffle": str(adapter._shuffle),
            }
        return plan

    # what a checkpoint holds

    def position(self) -> dict[str, Any]:
        """Where the next batch is, as JSON."""
        return {
            "created": self.created,
            "taken": self.taken,
            "epoch_step": self.epoch_step,
            "steps_seen": self._steps_seen,
            "num_batches": self._num_batches,
            "live": self._current_iterator is not None,
            "epochs_begun": self._reordered.epochs_begun if self._reordered else 0,
        }

    def draws(self, tensors: Tensors) -> dict[str, Any] | None:
        """Where the random generators are that the data draws from, as JSON and arrays."""
        return None if self._draws is None else self._draws.capture(tensors, self._taken_live)

    def drawn(self) -> dict[str, Any]:
        """States of Python's and numpy's generators that are to be saved for the present ones."""
        taken = self._taken_live
        return {} if self._draws is None or taken is None else self._draws.behind(taken)

    def close(self) -> None:
        """Nothing is read any more, and random generators stand where the training does."""
        if self._draws is not None:
            self._draws.close(self._taken_live)

    def check_again(self) -> None:
        """Once the random state is put back: has a generator come to it by being drawn again?"""
        if self._draws is not None and differing(self._again, self._draws.now()):
            self._drawn.append(
                "The generator drew other random numbers when it was drawn again than it had at "
                "first; it must depend on nothing but its own state and Python's and numpy's."
            )
        self._again = {}

    @property
    def _taken_live(self) -> int | None:
        """Batches taken of the pass under way; None between two."""
        return self.taken if self._current_iterator is not None else None

    def seek(
        self,
        position: dict[str, Any],
        before_live: Callable[[], None],
        draws: dict[str, Any] | None = None,
        tensors: Tensors | None = None,
    ) -> None:
        """Begins at a position that :meth:`position` gave; before the first batch.

        Args:
            before_live: called between the iterators that are over and the one in use.
            draws, tensors: what :meth:`draws` gave.
        """
        if self._draws is not None and draws is not None:
            self._draws.load(draws, tensors or {})
            self._draws.call_again(draws, self.beat)
        if self.data_adapter.num_batches is None:  # a known one may have been changed
            self._num_batches = position["num_batches"]
        self._start_step = position["epoch_step"]
        self.epoch_step = position["epoch_step"]
        # saved in the validation of the epoch: all batches are trained, and a PyDataset was told
        self._pass_over = (
            self._reordered is not None and not position["live"] and self._start_step > 0
        )
        live = (position["live"] or self._start_step > 0) and not self._pass_over
        passes = position["created"] - (1 if live else 0)
        if self._reordered is not None:
            begun = self._reordered.epochs_begun = position["epochs_begun"]
            if draws is None and self._draws is not None:
                # an older checkpoint; Keras has told of the end of an epoch once before the first
                within = live and self._start_step > 0
                self._draws.call_again(
                    {"called": "e" + "be" * (begun - within) + "b" * within}, self.beat
                )
        self.replay(passes)
        if live:
            before_live()
            self._current_iterator = self._begin_pass(position["taken"])
            self._steps_seen = position["steps_seen"]
        if self._draws is not None and draws is not None:
            self._draws.load_own(draws, tensors or {})

    def put_back(
        self,
        position: dict[str, Any],
        draws: dict[str, Any] | None = None,
        tensors: Tensors | None = None,
    ) -> None:
        """Leaves the data as a stage that had ended left it; arguments as of :meth:`seek`."""
        self.replay(position["created"])
        if self._draws is not None and draws is not None:
            self._draws.load(draws, tensors or {})
            self._draws.call_again(draws, self.beat)
            self._draws.load_own(draws, tensors or {})

    def replay(self, passes: int) -> None:
        """Makes iterators until there were so many; each draws the next shuffle."""
        if not self._own_order and not isinstance(self.data_adapter, GeneratorDataAdapter):
            for _ in range(passes - self.created):
                self.beat()
                iter(self._distributed_dataset)
        self.created = passes

    def inexact(self) -> list[str]:
        """In words what about the data cannot be put back exactly, as far as is known now."""
        found = list(self._drawn)
        if isinstance(self.data_adapter, GeneratorDataAdapter) and not self.steps_per_epoch:
            found.append(
                "a generator without steps_per_epoch is read ahead to an unknown place; give "
                "steps_per_epoch, or use a tf.data.Dataset or a PyDataset"
            )
        if self._reordered is not None:
            if self._reordered.drawn_in_threads and _IN_WORKERS not in found:
                found.append(_IN_WORKERS)
            if (
                self._reordered.listens
                and self.steps_per_epoch
                and self.steps_per_epoch != self._num_batches
            ):
                found.append(
                    "The PyDataset is told of an epoch's end while its next batches are being "
                    "read, since steps_per_epoch is not its length; leave out steps_per_epoch, "
                    "or change nothing in on_epoch_begin and on_epoch_end."
                )
        if self._draws is not None:
            found += [
                f"Both the data and the script draw from {kind} during the training, by turns "
                "that differ each time; give the data a generator of its own, "
                "numpy.random.default_rng(seed)."
                for kind in sorted(self._draws.moved & self._draws.foreign)
            ]
        return found

    @property
    def _own_order(self) -> bool:
        return self._arrays or self._reordered is not None

    # what Keras calls

    def _get_iterator(self) -> Any:
        return _Lazy(lambda: self._begin_pass(0))

    def reset(self) -> None:
        super().reset()
        self.taken = 0

    def _enumerate_iterator(self) -> Iterator[tuple[int, int, Any]]:
        start, self._start_step = self._start_step, 0
        resumed = start > 0
        if self._begin_later is not None:
            # only now: what reads ahead draws from generators that were put back meanwhile
            self._current_iterator, self._begin_later = self._begin_later(), None
        if self._reordered is None:
            self.data_adapter.on_epoch_begin()
        elif resumed:
            if not self._pass_over:
                self._reordered.enter_epoch()
        else:
            if self._current_iterator is None or self.steps_per_epoch is None:
                # on_epoch_begin starts workers, which read in the order of this pass already
                self._reordered.begin_pass(self.created, 0)
            self.data_adapter.on_epoch_begin()
        per_execution = self.steps_per_execution
        steps_per_epoch = self.steps_per_epoch or self._num_batches or -1
        self.epoch_step = start
        if steps_per_epoch > 0:
            if not resumed and (self._current_iterator is None or self.steps_per_epoch is None):
                self._current_iterator = iter(self._get_iterator())
                self._steps_seen = 0
            for step in range(start, steps_per_epoch, per_execution):
                if self._num_batches and self._steps_seen >= self._num_batches:
                    if self.steps_per_epoch:
                        self._interrupted_warning()
                    break
                self._steps_seen += per_execution
                yield step, step + per_execution - 1, self._current_iterator
                self.boundary(self.epoch_step)
            if self._num_batches and self._steps_seen >= self._num_batches:
                self._end_pass()
        else:
            iterator = self._current_iterator if resumed else iter(self._get_iterator())
            self._current_iterator = iterator
            step = start - per_execution
            while True:
                step += per_execution
                self._steps_seen = step + per_execution
                yield step, step + per_execution - 1, iterator
                self.boundary(self.epoch_step)
        if not self._pass_over:
            self.data_adapter.on_epoch_end()
        self._pass_over = False

    def epoch_over(self) -> None:
        """The epoch has ended, by running out of data or otherwise."""
        self.epoch_step = 0

    def trained(self, epoch_step: int) -> None:
        """So many batches of this epoch have been trained and all callbacks have seen it."""
        limit = self.steps_per_epoch or self._num_batches
        epoch_step = min(epoch_step, limit) if limit else epoch_step
        self.taken += epoch_step - self.epoch_step
        self.epoch_step = epoch_step
        if self._draws is not None:
            self._draws.passed(self.taken)

    def _end_pass(self) -> None:
        if self._own_order and self.steps_per_epoch is None:
            # the next epoch begins a pass of its own; drawing one that nobody reads is
            # only of use where it advances somebody else's shuffle
            self.created += 1
            self.taken = 0
            self._current_iterator = None
        else:
            self._current_iterator = iter(self._get_iterator())
        self._steps_seen = 0

    def _begin_pass(self, first: int) -> Any:
        """A new iterator that begins at batch ``first``."""
        number = self.created
        self.pass_begins()
        self.created += 1
        self.taken = first
        if self._arrays:
            return iter(self._distribute(self._array_dataset(number, first)))
        if self._draws is not None:
            return self._begin_followed(self._draws, number, first)
        iterator = iter(self._distributed_dataset)
        if first:
            seek.forward(iterator, first, self.beat)
        return iterator

    def _begin_followed(self, draws: Draws, number: int, first: int) -> Any:
        """The same of a generator or a ``PyDataset``."""
        if self._reordered is not None:
            self._reordered.begin_pass(number, first)
            draws.begin_pass(first)
        else:
            if first:
                draws.put(draws.begin)
            else:
                draws.begin = draws.now()
            draws.begin_pass(0)
            if first:
                self._ready = self.data_adapter.generator()
                seek.draw(self._ready, first, self.beat, draws.passed)
                self._again = draws.behind(first)
                draws.begin_pass(first)
        if not first:
            return iter(self._distributed_dataset)
        self._begin_later = lambda: iter(self._distributed_dataset)
        return self._begin_later

    def _distribute(self, dataset: Any) -> Any:
        if isinstance(dataset, tf.distribute.DistributedDataset):
            return dataset
        return self._distribute_strategy.experimental_distribute_dataset(dataset)

    def _array_dataset(self, number: int, first: int) -> Any:
        """Batches of the arrays in the order of pass ``number``, from batch ``first`` on."""
        adapter = self.data_adapter
        size = adapter._batch_size
        rows = order(self._seed, number, adapter._num_samples, size, adapter._shuffle)
        rows = rows[first * size :]
        full = len(rows) // size * size
        indices = tf.data.Dataset.from_tensor_slices(rows[:full].reshape(-1, size))
        if full < len(rows):
            indices = indices.concatenate(tf.data.Dataset.from_tensors(rows[full:]))
        if self._inputs is None:
            # converted once: a new pass must not copy all of the data
            inputs = array_slicing.convert_to_sliceable(
                adapter._inputs, target_backend="tensorflow"
            )
            self._inputs = tree.lists_to_tuples(inputs)
        data = tf.data.Dataset.zip((indices, tf.data.Dataset.from_tensors(self._inputs).repeat()))
        data = data.map(_gather, num_parallel_calls=tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return data.with_options(options).prefetch(tf.data.AUTOTUNE)


class EvalIterator(TFEpochIterator):  # type: ignore[misc]
    """Batches for the validation of `fit`: counts its passes, so that they can be repeated."""

    def __init__(self, **arguments: Any) -> None:
        self.created = 0
        self.own_generators = False
        data = arguments["x"]
        if not isinstance(data, keras.utils.PyDataset):
            super().__init__(**arguments)
            return
        draws = Draws()
        draws.owner = data
        before = draws.now()
        super().__init__(**arguments)
        self.own_generators = bool(differing(before, draws.now()) - GLOBAL)
        # Keras has drawn two batches for their shapes, at another time in each attempt
        draws.put(before)

    def _get_iterator(self) -> Any:
        self.created += 1
        return super()._get_iterator()


class _Lazy:
    """Something to be iterated once; Keras calls ``iter()`` on what it is given."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin

    def __iter__(self) -> Any:
        return self._begin()


def _gather(indices: Any, data: Any) -> Any:
    def one(x: Any) -> Any:
        if isinstance(x, array_slicing.TensorflowSparseWrapper):
            return array_slicing.slice_tensorflow_sparse_wrapper(x, indices)
        if isinstance(x, list | tuple | dict):
            return None
        return tf.gather(x, indices, axis=0) if tf.is_tensor(x) else x

    return tree.traverse(one, data)
