"""Epoch iterators for ``fit`` that know their position and can start there.

`fit` creates a ``TFEpochIterator`` for training and one for validation. The classes here do
the same in the same order, and also count the batches they take, so that a later process can
begin at the same batch.

They follow ``keras/src/trainers/epoch_iterator.py`` and
``keras/src/backend/tensorflow/trainer.py`` of the versions in :mod:`rekindle.jobs.keras_compat`.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import rng_tracker
from rekindle.jobs.data.keras3.arrays import ArraySource
from rekindle.jobs.data.keras3.eager_sources import ReplayedSource
from rekindle.jobs.data.keras3.epoch_iterator import Lazy
from rekindle.jobs.data.pipeline import caches
from rekindle.jobs.data.sources import (
    DataEvents,
    DrawnData,
    GeneratorSource,
    Opening,
    PyDatasetSource,
    Source,
    plan_of,
)
from rekindle.jobs.keras_compat import keras3
from rekindle.jobs.keras_compat.keras3 import (
    BACKEND_PARTS,
    BASE_ITERATOR,
    PLAIN_ITERATOR,
    Loop,
    PlainLoop,
)
from rekindle.jobs.keras_compat.tensorflow_parts import PRESENT
from rekindle.state.run.training_state import IteratorState


class FitIterator(Loop, DrawnData, PLAIN_ITERATOR):  # type: ignore[misc]
    """Iterate over the training batches of `fit`, from any position on.

    Args:
        seed: of the job, and the stage; with the number of the pass it determines the order of
            arrays.
        events: called on the way.
        arguments: those of ``TFEpochIterator``.

    Attributes:
        epoch_step: batches trained in this epoch.
    """

    exact = True

    def __init__(
        self,
        seed: tuple[int, int],
        events: DataEvents,
        *,
        distribute_strategy: Any = None,
        **arguments: Any,
    ) -> None:
        self.epoch_step = 0
        self._events = events
        self._created = 0
        self._taken = 0
        self._start_step = 0
        self._pass_over = False
        self._begin_later: Callable[[], Any] | None = None
        opening = Opening(arguments["x"], seed, events.beat)
        # not TFEpochIterator's: it would hold a second copy of arrays in memory
        BASE_ITERATOR.__init__(self, **arguments)
        reader = BACKEND_PARTS.Reader(self, distribute_strategy)
        self.source = opening.source(_kind(self.data_adapter), self.data_adapter, reader)

    @property
    def element_spec(self) -> Any:
        """Shapes and types of a batch, as ``tf.TensorSpec``."""
        return self.source.element_spec

    def fingerprint(self) -> Json:
        """Describe, as JSON, what of the data must be the same in every attempt."""
        return {**plan_of(self), **self.source.plan()}

    def caveats(self) -> list[Caveat]:
        """List what of the data cannot be restored exactly, as far as known now."""
        found = self.source.caveats(self.steps_per_epoch, self._num_batches)
        return [*found, *itertools.starmap(Caveat, self.limits())]

    # content of a checkpoint

    def position(self) -> IteratorState:
        """Return the position of the next batch, as JSON."""
        reordered = self.source.reordered
        return {
            "created": self._created,
            "taken": self._taken,
            "epoch_step": self.epoch_step,
            "steps_seen": self._steps_seen,
            "num_batches": self._num_batches,
            "live": self._current_iterator is not None,
            "epochs_begun": reordered.epochs_begun if reordered else 0,
        }

    # resuming

    def seek(
        self,
        position: IteratorState,
        before_live: Callable[[], None],
        draws: Json | None,
        arrays: Tensors,
        *,
        replay: bool,
    ) -> None:
        """Begin at a position from :meth:`position`; call before the first batch.

        Args:
            before_live: called after the finished passes and before the current one begins.
            draws, arrays: what :meth:`draws` returned.
            replay: begin each finished pass once more, so that a shuffle draws for it.
        """
        tracker, reordered = self.source.tracker, self.source.reordered
        self.load_draws(draws, arrays)
        if self.data_adapter.num_batches is None:  # a known number may have been changed
            self._num_batches = position["num_batches"]
        self._start_step = position["epoch_step"]
        self.epoch_step = position["epoch_step"]
        # saved within the validation: all batches are trained, and on_epoch_end was called
        self._pass_over = reordered is not None and not position["live"] and self._start_step > 0
        live = (position["live"] or self._start_step > 0) and not self._pass_over
        if reordered is not None:
            begun = position["epochs_begun"]
            reordered.continue_after(begun)
            if draws is None and tracker is not None:
                # an older checkpoint; Keras calls on_epoch_end once before the first epoch
                within = live and self._start_step > 0
                called = "e" + "be" * (begun - within) + "b" * within
                tracker.epoch_calls.repeat(called, self._events.beat)
        self._skip_passes(position["created"] - (1 if live else 0), replay=replay)
        if live:
            before_live()
            self._current_iterator = self._begin_pass(position["taken"])
            self._steps_seen = position["steps_seen"]
        self.load_own(draws, arrays)

    # called by Keras

    def _get_iterator(self) -> Any:
        return Lazy(lambda: self._begin_pass(0))

    def reset(self) -> None:
        super().reset()
        self._taken = 0

    def _steps(self) -> Iterator[tuple[int, int, Any]]:
        start, self._start_step = self._start_step, 0
        resumed = start > 0
        if self._begin_later is not None:
            # only now: prefetching draws from generators, which have been restored meanwhile
            self._current_iterator, self._begin_later = self._begin_later(), None
        self._epoch_begins(resumed=resumed)
        if self._stopped:
            return
        per_execution = self.steps_per_execution
        steps_per_epoch, self.epoch_step = self.steps_per_epoch or self._num_batches or -1, start
        if steps_per_epoch > 0:
            if not resumed and (self._current_iterator is None or self.steps_per_epoch is None):
                self._current_iterator = iter(self._get_iterator())
                self._steps_seen = 0
            for step in range(start, steps_per_epoch, per_execution):
                if self.begins_next_pass and self._is_pass_over():
                    if self.steps_per_epoch:
                        self._interrupted_warning()
                    break
                self._steps_seen += per_execution
                yield from self._execution(step, self._current_iterator)
            self._events.batches_over()
            if self._is_pass_over() and (self.begins_next_pass or self.steps_per_epoch is None):
                self._end_pass()
        else:
            iterator = self._current_iterator if resumed else iter(self._get_iterator())
            self._current_iterator = iterator
            for step in itertools.count(start, per_execution):
                self._steps_seen = step + per_execution
                yield from self._execution(step, iterator)
        if not self._pass_over:
            self.data_adapter.on_epoch_end()
        self._pass_over = False

    def _execution(self, step: int, iterator: Any) -> Iterator[tuple[int, int, Any]]:
        try:
            yield step, step + self.steps_per_execution - 1, iterator
        except GeneratorExit:
            if self.epoch_step <= step:
                self._taken += 1  # Keras has built the model from it, and trained nothing
            raise
        self._events.boundary()

    @contextlib.contextmanager
    def catch_stop_iteration(self) -> Iterator[None]:
        over = not BACKEND_PARTS.BATCH_BY_BATCH
        with super().catch_stop_iteration():
            try:
                yield
            except StopIteration:
                over = True
                raise
        # also where the data ran out, or a callback stopped the training
        if over:
            self._events.batches_over()

    def _epoch_begins(self, *, resumed: bool) -> None:
        reordered = self.source.reordered
        if reordered is None:
            self.data_adapter.on_epoch_begin()
        elif resumed:
            if not self._pass_over:
                reordered.enter_epoch()
        else:
            if self._current_iterator is None or self.steps_per_epoch is None:
                # before on_epoch_begin, which starts workers that read in the order of this pass
                reordered.begin_pass(self._created, 0)
            self.data_adapter.on_epoch_begin()

    def epoch_over(self) -> None:
        """Reset the count of batches: the epoch has ended, with its data or earlier."""
        self.epoch_step = 0

    def trained(self, batch: int) -> None:
        """Count the batches of an execution as trained, callbacks included.

        Args:
            batch: the 0-based number that callbacks are given.
        """
        limit = self.steps_per_epoch or self._num_batches
        epoch_step = self.last_step(batch) + 1
        epoch_step = min(epoch_step, limit) if limit else epoch_step
        self._taken += epoch_step - self.epoch_step
        self.epoch_step = epoch_step
        if self.source.tracker is not None:
            self.source.tracker.passed(self._taken)

    def _end_pass(self) -> None:
        if not self.begins_next_pass:
            caches.finish(self._current_iterator, self.source.dataset)
            self._taken = 0
            self._current_iterator = None
        elif self.source.own_order and self.steps_per_epoch is None:
            # no iterator for the next pass: the next epoch begins it, and the order of our own
            # needs no unused iterator to advance a shuffle
            self._created += 1
            self._taken = 0
            self._current_iterator = None
        else:
            self._current_iterator = iter(self._get_iterator())
        self._steps_seen = 0

    def _begin_pass(self, first: int) -> Any:
        """Begin the next pass at batch ``first``."""
        taken, limit = self._taken, self._num_batches
        if self._current_iterator is not None and limit and taken >= limit:
            caches.finish(self._current_iterator, self.source.dataset)
        self._events.pass_begins()
        begun = self.source.begin_pass(self._created, first)
        self._created += 1
        self._taken = first
        self._begin_later = begun.begin_later
        return begun.iterator if begun.begin_later is None else begun.begin_later


class CallbackIterator(PlainLoop, PLAIN_ITERATOR):  # type: ignore[misc]
    """Iterate over the batches of an ``evaluate`` or ``predict`` of a callback."""

    _current_iterator: Any = None
    _steps_seen = 0

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._batches: Any = BACKEND_PARTS.batches_of(self)
        BACKEND_PARTS.begin_passes_by(self, Lazy(self._begin_pass))

    def _begin_pass(self) -> Any:
        self._finish()
        return iter(self._batches)

    def _finish(self) -> None:
        limit = self._num_batches
        if self._current_iterator is not None and limit and self._steps_seen >= limit:
            caches.finish(self._current_iterator, self._batches)


class EvalIterator(CallbackIterator):
    """Iterate over the validation batches of `fit`; count the passes, so that they can be repeated.

    Args:
        begins: called before a pass begins.
        created: number of passes in earlier attempts.
    """

    def __init__(self, begins: Callable[[], None], created: int, **arguments: Any) -> None:
        self._begins = begins
        self.created = created
        self.own_generators = False
        data, make = arguments["x"], functools.partial(super().__init__, **arguments)
        self._begun: dict[str, Any] | None = None
        if isinstance(data, keras3.PyDataset):
            self.own_generators = rng_tracker.without_draws(data, make)
            if BACKEND_PARTS.NAME != keras3.TENSORFLOW:  # nothing is read yet
                self._begun = rng_tracker.own_generators(data)
        else:
            make()
        self._data = data

    def _begin_pass(self) -> Any:
        self.created += 1
        self._finish()
        self._begins()
        return iter(self._batches)

    def has_drawn(self) -> bool:
        """Return whether the data has drawn from generators of its own since it was passed."""
        return self._begun is not None and bool(
            rng_tracker.differing(self._begun, rng_tracker.own_generators(self._data))
        )

    def abandon(self) -> bool:
        """Delete the iterator; True if a pass was begun and not finished."""
        unfinished = self._current_iterator is not None and self._steps_seen > 0
        self._current_iterator = None
        return unfinished


def _kind(adapter: Any) -> type[Source]:
    kinds: list[tuple[Any, type[Source]]] = [
        (keras3.ArrayDataAdapter, ArraySource),
        (keras3.PyDatasetAdapter, PyDatasetSource),
        (keras3.GeneratorDataAdapter, GeneratorSource),
    ]
    found = next((source for kind, source in kinds if isinstance(adapter, kind)), None)
    if found is None and BACKEND_PARTS.NAME != keras3.TENSORFLOW:
        of_tensorflow = PRESENT and isinstance(adapter, keras3.TFDatasetAdapter)
        found = Source if of_tensorflow else ReplayedSource
    return found or Source
