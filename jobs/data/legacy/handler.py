"""Data handlers for ``fit`` of legacy Keras that know their position and can start there.

`fit` creates one for training and one for validation, and asks each for the iterators of its
epochs and for the steps of an epoch. They follow ``src/engine/data_adapter.py`` of the versions in
:mod:`rekindle.jobs.keras_compat`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import rng_tracker
from rekindle.jobs.data.legacy.adapters import Choice, KnownHandler, View
from rekindle.jobs.data.pipeline import caches
from rekindle.jobs.data.sources import DataEvents, DrawnData, Opening, Source
from rekindle.jobs.keras_compat import legacy
from rekindle.jobs.keras_compat.backends.distributed import Reader
from rekindle.jobs.keras_compat.legacy import data_adapter
from rekindle.state.run.training_state import IteratorState

_WORKERS = Caveat(
    "Workers call on_epoch_end of the Sequence at a time that differs each time",
    "remove workers and use_multiprocessing",
)


class TrainingHandler(DrawnData, KnownHandler):
    """Iterate over the training batches of `fit`, from any position on.

    Args:
        seed: of the job, and the stage; with the number of the pass it determines the order of
            arrays.
        events: called on the way.
        arguments: those of ``get_data_handler``.

    Attributes:
        epoch_step: batches trained in this epoch.
    """

    exact = True

    def __init__(self, seed: tuple[int, int], events: DataEvents, **arguments: Any) -> None:
        self.epoch_step = 0
        self._events = events
        self._created = 0
        self._taken = 0
        self._start_step = 0
        self._current_iterator: Any = None
        self._begin_later: Callable[[], Any] | None = None
        self._end_due = False
        weights = arguments.get("class_weight")
        weighted = data_adapter._make_class_weight_map_fn(weights) if weights else None
        self._view = View(lambda data: data if weighted is None else data.map(weighted))
        self._opening = Opening(arguments["x"], seed, events.beat)
        self._choice = Choice(self._view, arguments)
        self._opening.has_read()
        with legacy.adapters(self._choice.select):
            super().__init__(**self._choice.arguments)

    def _configure_dataset_and_inferred_steps(
        self, strategy: Any, x: Any, steps_per_epoch: Any, class_weight: Any, distribute: bool
    ) -> None:
        self._view.adapter = self._adapter
        self.source: Source = self._opening.source(
            self._choice.source, self._view, Reader(self, strategy)
        )
        self._inferred_steps = self._infer_steps(steps_per_epoch, self.source.dataset)
        self._dataset = self.source.dataset
        self._validate_data_handler()

    @property
    def element_spec(self) -> Any:
        """Shapes and types of a batch, as ``tf.TensorSpec``."""
        return self.source.element_spec

    @property
    def reads(self) -> bool:
        """True if a pass is begun and not read to its end: threads read ahead."""
        return self._current_iterator is not None and self._taken > 0 and not self._is_pass_over()

    def fingerprint(self) -> Json:
        """Describe, as JSON, what of the data must be the same in every attempt."""
        return {
            "the kind of data": self._choice.kind.__name__.removesuffix("DataAdapter"),
            "the number of batches": self._steps_per_epoch or self._adapter.get_size(),
            "steps_per_execution": self.steps_per_execution,
            **self.source.plan(),
        }

    def caveats(self) -> list[Caveat]:
        """List what of the data cannot be restored exactly, as far as known now."""
        found = self.source.caveats(self._steps_per_epoch, self._inferred_steps)
        listens = self.source.reordered is not None and self.source.reordered.listens
        return [*found, _WORKERS] if listens and self._view.has_workers else found

    # content of a checkpoint

    def position(self) -> IteratorState:
        """Return the position of the next batch, as JSON."""
        return {
            "created": self._created,
            "taken": self._taken,
            "epoch_step": self.epoch_step,
            "steps_seen": self.epoch_step,
            "num_batches": self._inferred_steps,
            "live": self._current_iterator is not None and not self._is_pass_over(),
            "epochs_begun": int(self._end_due),
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
        self.load_draws(draws, arrays)
        if self._inferred_steps is None:
            self._inferred_steps = position["num_batches"]
        self._start_step = self.epoch_step = position["epoch_step"]
        self._end_due = bool(position["epochs_begun"])
        again = self._recreates()
        over = again and self._start_step >= (self._inferred_steps or self._start_step + 1)
        live = position["live"] and not over and not (again and not self._start_step)
        self._skip_passes(position["created"] - live, replay=replay)
        self._taken = position["taken"]
        if live:
            before_live()
            self._current_iterator = self._begin_pass(position["taken"])
        self.load_own(draws, arrays)

    # called by Keras

    def enumerate_epochs(self) -> Iterator[tuple[int, Any]]:
        with self._truncate_execution_to_epoch():
            if self._created == 0:
                self._current_iterator = self._begin_pass(0)
            if self._end_due:
                self._end_epoch()
            for epoch in range(self._initial_epoch, self._epochs):
                if self._insufficient_data:
                    break
                if self._begin_later is not None:
                    # prefetching draws from generators, which have been restored meanwhile
                    self._current_iterator, self._begin_later = self._begin_later(), None
                elif self._recreates() and not self._start_step:
                    self._current_iterator = self._begin_pass(0)
                    self._infer_again()
                yield epoch, self._current_iterator
                self._end_epoch()

    def steps(self) -> Iterator[int]:
        self._initial_step, self._start_step = self._start_step, 0
        self.epoch_step = self._initial_step
        if self._stopped:
            return
        for step in super().steps():
            yield step
            self._events.boundary()
        self._events.batches_over()

    @contextlib.contextmanager
    def catch_stop_iteration(self) -> Iterator[None]:
        with super().catch_stop_iteration():
            yield
        # also where the data ran out, or a callback stopped the training
        self._events.batches_over()

    def trained(self, batch: int) -> None:
        """Count the batches of an execution as trained, callbacks included.

        Args:
            batch: the 0-based number that callbacks are given.
        """
        self._taken += batch + 1 - self.epoch_step
        self.epoch_step = batch + 1
        if self.source.tracker is not None:
            self.source.tracker.passed(self._taken)

    def epoch_over(self) -> None:
        """Reset the count of batches: the epoch has ended, with its data or earlier."""
        self.epoch_step = 0
        self._end_due = True

    def _recreates(self) -> bool:
        return bool(self._adapter.should_recreate_iterator())

    def _infer_again(self) -> None:
        steps = self._infer_steps(self._steps_per_epoch, self.source.dataset)
        if steps is not None:
            self._inferred_steps = steps

    def _end_epoch(self) -> None:
        self._end_due = False
        self._adapter.on_epoch_end()

    def _is_pass_over(self) -> bool:
        limit = self._inferred_steps if self._recreates() else None
        return bool(limit and self._taken >= limit)

    def _begin_pass(self, first: int) -> Any:
        """Begin the next pass at batch ``first``."""
        if self._current_iterator is not None and self._is_pass_over():
            caches.finish(self._current_iterator, self.source.dataset)
        self._events.pass_begins()
        begun = self.source.begin_pass(self._created, first)
        self._created += 1
        self._taken = first
        self._begin_later = begun.begin_later
        return begun.iterator if begun.begin_later is None else begun.begin_later


class CallbackHandler(data_adapter.DataHandler):  # type: ignore[misc]
    """Iterate over the batches of an ``evaluate`` or ``predict`` of a callback."""

    _live: Any = None
    _seen = 0

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._batches: Any = self._dataset

    def enumerate_epochs(self) -> Iterator[tuple[int, Any]]:
        with self._truncate_execution_to_epoch():
            self._live = self._begin_pass()
            for epoch in range(self._initial_epoch, self._epochs):
                if self._insufficient_data:
                    break
                if self._adapter.should_recreate_iterator():
                    self._live = self._begin_pass()
                yield epoch, self._live
                self._adapter.on_epoch_end()

    def steps(self) -> Iterator[int]:
        for step in super().steps():
            yield step
            self._seen = self._current_step + self._step_increment + 1

    def _begin_pass(self) -> Any:
        self._finish()
        self._seen = 0
        return iter(self._batches)

    def _finish(self) -> None:
        limit = self._inferred_steps
        if self._live is not None and limit and self._seen >= limit:
            caches.finish(self._live, self._batches)


class EvalHandler(CallbackHandler):
    """Iterate over the validation batches of `fit`; count the passes, so that they can be repeated.

    Args:
        begins: called before a pass begins.
        created: number of passes in earlier attempts.
    """

    own_generators = False

    def __init__(self, begins: Callable[[], None], created: int, **arguments: Any) -> None:
        self._begins = begins
        self.created = created
        data, make = arguments["x"], functools.partial(super().__init__, **arguments)
        if isinstance(data, legacy.PyDataset):
            self.own_generators = rng_tracker.without_draws(data, make)
        else:
            make()

    def _begin_pass(self) -> Any:
        self.created += 1
        self._begins()
        return super()._begin_pass()

    def has_drawn(self) -> bool:
        """Return False: what the data draws is noticed when it is passed."""
        return False

    def abandon(self) -> bool:
        """Delete the iterator; True if a pass was begun and not finished."""
        unfinished = self._live is not None and self._seen > 0
        self._live = None
        return unfinished
