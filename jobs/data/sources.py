"""Sources of batches of a ``fit``: one class for each kind of data.

A source can begin a pass over its data at any batch:

- arrays and ``PyDataset``: the order of each pass is derived from (seed, stage, pass), so that
  a pass can begin at any batch, at no cost;
- ``tf.data``: the same number of iterators is created (each draws the next shuffle), and the
  batches already taken are read again from the last one and dropped;
- generators: the batches already taken are read again, with the random state of the start of
  the pass (:mod:`rekindle.jobs.data.rng_tracker`).
"""

import functools
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import rng_tracker
from rekindle.jobs.data.pipeline import fast_forward
from rekindle.jobs.data.py_dataset import Reordered
from rekindle.jobs.data.rng_tracker import RngTracker, differing, generators
from rekindle.jobs.keras_compat import internals
from rekindle.state.run.training_state import IteratorState

_IN_WORKERS: Final = Caveat(
    "The PyDataset draws random numbers in several workers, in an order that differs each time",
    "draw from a generator that __getitem__ creates from the index, or remove workers and "
    "use_multiprocessing",
)
_given: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""Generators that were passed to a `fit` of this process."""

Beat = Callable[[], None]


class DataEvents(NamedTuple):
    """Called by an iterator over the training data of a ``fit``.

    Attributes:
        boundary: between two executions.
        batches_over: when all batches of an epoch are trained, before its validation.
        pass_begins: before a pass over the data draws anything.
        beat: while data is read again; may end the process.
    """

    boundary: Callable[[], None]
    batches_over: Callable[[], None]
    pass_begins: Callable[[], None]
    beat: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pass:
    """Hold a pass over the data.

    Attributes:
        iterator: iterates over the batches.
        begin_later: creates the iterator, if it must begin only after the random state was
            restored, since prefetching draws from it.
    """

    iterator: Any = None
    begin_later: Callable[[], Any] | None = None


class Source:
    """Read batches from a ``tf.data.Dataset``; other kinds of data derive from it.

    Args:
        adapter: Keras' adapter of the data.
        reader: reads it as the backend of Keras does.
        beat: called while data is read again; may end the process.
    """

    own_order = False
    """True if the order of a pass is derived from (seed, stage, pass)."""
    tracker: RngTracker | None = None
    reordered: Reordered | None = None

    def __init__(self, adapter: Any, reader: Any, beat: Beat) -> None:
        self.adapter = adapter
        self._reader = reader
        self._beat = beat
        self.dataset: Any = None
        self._distributed: Any = None

    def open(self) -> None:
        """Create the dataset; Keras then has read from the data."""
        self.dataset, self._distributed = self._reader.opened(self.adapter)

    @property
    def element_spec(self) -> Any:
        """Shapes and types of a batch, as ``tf.TensorSpec``."""
        return self.dataset.element_spec

    def plan(self) -> Json:
        """Describe, as JSON, what of the data must be the same in every attempt."""
        return {}

    def skip_pass(self) -> None:
        """Skip a finished pass: create an iterator, which draws the next shuffle."""
        self._beat()
        iter(self._distributed)

    def begin_pass(self, number: int, first: int) -> Pass:
        """Begin pass ``number`` at batch ``first``."""
        iterator = iter(self._distributed)
        if first:
            fast_forward.forward(iterator, first, self._beat)
        return Pass(self._reader.converted(iterator))

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        """List what of the data cannot be restored exactly, as far as known now."""
        return []

    def draws(self, arrays: Tensors) -> Json | None:
        """Return what of the random state of the data is saved with it; None for nothing."""
        return None

    def load_draws(self, draws: Json, arrays: Tensors) -> None:
        """Load what :meth:`draws` returned, before the pass is read again."""

    def load_own(self, draws: Json, arrays: Tensors) -> None:
        """Restore what :meth:`draws` returned, once the pass is read again."""

    def distribute(self, dataset: Any) -> Any:
        return self._reader.distributed(dataset)


class OrderedSource(Source):
    """Read arrays in an order of our own; Keras' adapter would hold a second copy in memory.

    Args:
        seed: of the job, and the stage.
    """

    own_order = True

    def __init__(self, adapter: Any, reader: Any, beat: Beat, seed: tuple[int, int]) -> None:
        super().__init__(adapter, reader, beat)
        self._seed = seed

    def skip_pass(self) -> None:
        pass


class InsideDraws:
    """Notice draws from generators of Keras and TensorFlow, since this was made."""

    def __init__(self) -> None:
        self._before = rng.fingerprint()
        self._found: bool | None = None

    def look(self) -> bool:
        """Return whether anything was drawn; the first call decides.

        A generator created meanwhile counts, too: Keras creates its global one at the first use.
        """
        if self._found is None:
            now = rng.fingerprint()
            self._found = any(self._before.get(key) != state for key, state in now.items())
        return self._found


class TrackedSource(Source):
    """Read data that may draw from Python's random generators, and track that per batch.

    Args:
        tracker: created before Keras has read from the data.
        inside: made at that time.
    """

    def __init__(
        self, adapter: Any, reader: Any, beat: Beat, tracker: RngTracker, inside: InsideDraws
    ) -> None:
        super().__init__(adapter, reader, beat)
        self.tracker: RngTracker = tracker
        self._inside = inside
        self._found: list[Caveat] = []

    def open(self) -> None:
        before = generators(self.tracker.now())
        super().open()
        # Keras has read two batches, in this thread, to know their shapes
        if self._inside.look():
            self._found.append(
                Caveat(
                    "The data draws random numbers through Keras or TensorFlow, and is "
                    "prefetched to a position that differs each time",
                    "let it draw from numpy",
                )
            )
        if getattr(self.adapter, "enqueuer", None) is not None and differing(
            before, self.tracker.now()
        ):
            self._found.append(_IN_WORKERS)

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        return [
            *self._found,
            *[_raced(kind, is_value=is_value) for kind, is_value in self.tracker.raced],
        ]


class GeneratorSource(TrackedSource):
    """Read a Python generator, again if needed, from the random state of the start of a pass."""

    def __init__(
        self,
        adapter: Any,
        reader: Any,
        beat: Beat,
        tracker: RngTracker,
        inside: InsideDraws,
        given: Any,
    ) -> None:
        super().__init__(adapter, reader, beat, tracker, inside)
        self._ready: Iterator[Any] | None = None
        self._again: dict[str, Any] = {}
        if given in _given:
            self._found.append(
                Caveat(
                    "An earlier fit used the same generator and has prefetched from it to a "
                    "position that differs each time",
                    "create a new generator for each fit",
                )
            )
        _given.add(given)
        made = internals.generator_of(adapter)

        def follow() -> Iterator[Any]:
            ready, self._ready = self._ready, None
            return tracker.follow(made()) if ready is None else ready

        self._follow = follow
        internals.replace_generator(adapter, follow)

    def skip_pass(self) -> None:
        pass  # the generator is the same in all passes

    def begin_pass(self, number: int, first: int) -> Pass:
        tracker = self.tracker
        if not first:
            tracker.begin_pass(0, remember=True)
            return Pass(iter(self._distributed))
        tracker.put(tracker.begin)
        tracker.begin_pass(0)
        self._ready = self._follow()
        fast_forward.draw(self._ready, first, self._beat, tracker.passed)
        self._again = tracker.behind(first)
        tracker.begin_pass(first)
        return Pass(begin_later=functools.partial(iter, self._distributed))

    def check_again(self) -> None:
        """Check that the generator, read again, reached the restored random state."""
        if differing(self._again, self.tracker.now()):
            self._found.append(
                Caveat(
                    "The generator drew different random numbers when it was read again",
                    "let it depend on nothing but its own state and Python's and numpy's",
                )
            )
        self._again = {}

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        found = super().caveats(steps_per_epoch, num_batches)
        if not steps_per_epoch:
            found.append(
                Caveat(
                    "A generator without steps_per_epoch is prefetched to an unknown position",
                    "set steps_per_epoch, or use a tf.data.Dataset or a PyDataset",
                )
            )
        return found


class PyDatasetSource(TrackedSource):
    """Read a ``PyDataset`` in an order of our own."""

    own_order = True

    def __init__(
        self,
        adapter: Any,
        reader: Any,
        beat: Beat,
        tracker: RngTracker,
        inside: InsideDraws,
        seed: tuple[int, int],
    ) -> None:
        super().__init__(adapter, reader, beat, tracker, inside)
        self.reordered: Reordered = Reordered(adapter, seed, tracker)

    def name_outside(self, names: set[str]) -> None:
        """Name generators outside of the data that reading it has advanced."""
        for name in sorted(names):
            self._found.append(
                Caveat(
                    f"The data draws from {name}, a random generator outside of it, and is "
                    "prefetched to a position that differs each time",
                    "make the generator an attribute of the PyDataset",
                )
            )

    def skip_pass(self) -> None:
        pass

    def begin_pass(self, number: int, first: int) -> Pass:
        self.reordered.begin_pass(number, first)
        self.tracker.begin_pass(first)
        if not first:
            return Pass(iter(self._distributed))
        return Pass(begin_later=functools.partial(iter, self._distributed))

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        found = super().caveats(steps_per_epoch, num_batches)
        if self.reordered.drawn_in_threads and _IN_WORKERS not in found:
            found.append(_IN_WORKERS)
        if self.reordered.listens and steps_per_epoch and steps_per_epoch != num_batches:
            found.append(
                Caveat(
                    "on_epoch_end of the PyDataset is called while its next batches are being "
                    "read, since steps_per_epoch is not its length",
                    "remove steps_per_epoch, or change nothing in on_epoch_begin and on_epoch_end",
                )
            )
        return found


class Opening:
    """Create the source of a ``fit``: begin before Keras reads from the data, finish after.

    Args:
        data: the argument ``x`` of ``fit``.
        seed: of the job, and the stage.
    """

    def __init__(self, data: Any, seed: tuple[int, int], beat: Beat) -> None:
        self._data = data
        self._seed = seed
        self._beat = beat
        self._tracker = (
            RngTracker(data if isinstance(data, internals.PyDataset) else None)
            if isinstance(data, types.GeneratorType | internals.PyDataset)
            else None
        )
        self._inside = InsideDraws() if self._tracker is not None else None
        of_class = isinstance(data, internals.PyDataset)
        self._outside = rng_tracker.outside(data) if of_class else {}

    def has_read(self) -> None:
        """Look for draws now: what follows draws, too, e.g. a model that is built."""
        if self._inside is not None:
            self._inside.look()

    def source(self, kind: type[Source], adapter: Any, reader: Any) -> Source:
        """Create the source of a kind, once Keras has created its adapter of the data."""
        source = self._make(kind, adapter, reader)
        source.open()
        if isinstance(source, PyDatasetSource):
            # Keras has read two batches
            source.name_outside(differing(self._outside, rng_tracker.outside(self._data)))
        return source

    def _make(self, kind: type[Source], adapter: Any, reader: Any) -> Source:
        tracker, inside = self._tracker, self._inside
        if issubclass(kind, OrderedSource):
            return kind(adapter, reader, self._beat, self._seed)
        if tracker is not None and inside is not None and kind is PyDatasetSource:
            return PyDatasetSource(adapter, reader, self._beat, tracker, inside, self._seed)
        if tracker is not None and inside is not None and kind is GeneratorSource:
            return GeneratorSource(adapter, reader, self._beat, tracker, inside, self._data)
        plain = Source if issubclass(kind, TrackedSource) else kind
        return plain(adapter, reader, self._beat)


def _raced(kind: str, *, is_value: bool) -> Caveat:
    if is_value:
        return Caveat(
            f"Both reading the PyDataset and the script change {kind} during the training, in an "
            "order that differs each time",
            "change it in __getitem__ alone, or not there",
        )
    return Caveat(
        f"Both the data and the script draw from {kind} during the training, in an order that "
        "differs each time",
        "let the data draw from its own generator, numpy.random.default_rng(seed)",
    )


def plan_of(iterator: Any) -> Json:
    """Describe the data of a Keras iterator: what must be the same in every attempt."""
    return {
        "the kind of data": type(iterator.data_adapter).__name__.removesuffix("Adapter"),
        "the number of batches": iterator.num_batches,
        "steps_per_execution": iterator.steps_per_execution,
    }


class DrawnData:
    """Save and restore what a generator or a ``PyDataset`` draws; a part of an iterator.

    Attributes:
        source: of its batches.
    """

    source: Source
    _events: DataEvents
    _current_iterator: Any
    _created: int
    _taken: int
    _stopped = False

    @property
    def taken_live(self) -> int | None:
        """Batches taken of the current pass; None between two passes."""
        return self._taken if self._current_iterator is not None else None

    def abandon(self) -> bool:
        """Delete the iterator; True if a pass was begun and not finished."""
        unfinished = self._current_iterator is not None and self._taken > 0
        self._current_iterator = None
        return unfinished

    def draws(self, arrays: Tensors) -> Json | None:
        """Return the states of the generators that the data draws from, as JSON and arrays."""
        tracker = self.source.tracker
        if tracker is None:
            return self.source.draws(arrays)
        return tracker.capture(arrays, self.taken_live)

    def drawn(self) -> dict[str, Any]:
        """Return states of Python's and numpy's generators to save instead of the current ones."""
        taken, tracker = self.taken_live, self.source.tracker
        return {} if tracker is None or taken is None else tracker.behind(taken)

    def close(self) -> None:
        """Stop reading; set random generators to the last trained batch."""
        if self.source.tracker is not None:
            self.source.tracker.close(self.taken_live)

    def load_draws(self, draws: Json | None, arrays: Tensors) -> None:
        """Load what :meth:`draws` returned, and repeat the epoch calls of a ``PyDataset``."""
        if draws is not None:
            self.source.load_draws(draws, arrays)
        if self.source.tracker is not None and draws is not None:
            self.source.tracker.load(draws, arrays)
            self.source.tracker.epoch_calls.repeat(draws["called"], self._events.beat)

    def load_own(self, draws: Json | None, arrays: Tensors) -> None:
        """Restore the generators that are attributes of the data, once it is at its pass."""
        if draws is not None:
            self.source.load_own(draws, arrays)
        if self.source.tracker is not None and draws is not None:
            self.source.tracker.load_own(draws, arrays)

    def restore_ended(
        self, position: IteratorState, draws: Json | None, arrays: Tensors, *, replay: bool
    ) -> None:
        """Restore the data as of the end of a finished stage; arguments as of ``seek``."""
        self._skip_passes(position["created"], replay=replay)
        self.load_draws(draws, arrays)
        self.load_own(draws, arrays)

    def _skip_passes(self, passes: int, *, replay: bool) -> None:
        for _ in range(passes - self._created if replay else 0):
            self.source.skip_pass()
        self._created = passes

    def put_values(self, draws: Json, arrays: Tensors) -> None:
        """Restore attributes of a ``PyDataset`` that reading it changes."""
        if self.source.tracker is not None:
            self.source.tracker.load_values(draws, arrays)

    def check_again(self) -> None:
        """Check that the data, read again, reached the restored random state."""
        if isinstance(self.source, GeneratorSource):
            self.source.check_again()

    def stop_here(self) -> None:
        """Give no further batch in this epoch: Keras asks only after one.

        A callback has set ``stop_training`` in an earlier attempt.
        """
        self._stopped = True
