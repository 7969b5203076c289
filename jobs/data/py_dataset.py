"""``PyDataset`` whose batches come in a reproducible order."""

from typing import Any

from rekindle.jobs.data.rng_tracker import RngTracker, differing, generators
from rekindle.jobs.data.shuffle import Order, order
from rekindle.jobs.keras_compat import internals


class Reordered:
    """Wrap a ``PyDataset`` and return its batches in the order of the pass.

    Keras shuffles with Python's global generator, for several workers in a separate thread:
    that order is not reproducible.
    """

    def __init__(self, adapter: Any, seed: tuple[int, int], draws: RngTracker) -> None:
        self.inner = adapter.py_dataset
        self._draws = draws
        self._in_order = not internals.has_workers(adapter)
        self.drawn_in_threads = False
        self._adapter = adapter
        self._seed = seed
        self._shuffle = bool(adapter.shuffle)
        self._order: Order | None = None
        self._first = 0
        self.epochs_begun = 0
        adapter.shuffle = False
        adapter.py_dataset = self
        if adapter.enqueuer is not None:
            adapter.enqueuer.shuffle = False
            adapter.enqueuer.py_dataset = self

    def begin_pass(self, number: int, first: int) -> None:
        """Begin pass ``number`` at batch ``first``."""
        count = internals.number_of_batches(self.inner)
        if count is not None:
            self._order = order(self._seed, number, count, 1, self._shuffle)
        self._first = first

    @property
    def listens(self) -> bool:
        """True if the user's dataset overrides on_epoch_begin or on_epoch_end."""
        return listens_to_epochs(self.inner)

    def continue_after(self, epochs_begun: int) -> None:
        """Set the number of epochs that earlier attempts have begun."""
        self.epochs_begun = epochs_begun

    def enter_epoch(self) -> None:
        """Resume within an epoch, for which on_epoch_begin was called already."""
        self._adapter._within_epoch = True
        internals.start_workers(self._adapter)

    def on_epoch_begin(self) -> None:
        self.epochs_begun += 1
        self._draws.epoch_calls.call("on_epoch_begin")

    def on_epoch_end(self) -> None:
        self._draws.epoch_calls.call("on_epoch_end")

    @property
    def num_batches(self) -> int | None:
        count = internals.number_of_batches(self.inner)
        return None if count is None else count - self._first

    def __getitem__(self, index: int) -> Any:
        position = index + self._first
        chosen = position if self._order is None else int(self._order[position])
        if self._in_order:
            return self._draws.draw(lambda: self.inner[chosen])
        before = generators(self._draws.now())
        batch = self.inner[chosen]
        if differing(before, self._draws.now()):
            self.drawn_in_threads = True
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def listens_to_epochs(dataset: Any) -> bool:
    plain = internals.PyDataset
    return any(
        getattr(type(dataset), name, None) is not getattr(plain, name, None)
        for name in ("on_epoch_begin", "on_epoch_end")
    )
