"""Adapters of Keras' training loops: how ``fit`` asks its iterator for the batches of an epoch.

An iterator of :mod:`rekindle.jobs.data.keras3.fit_iterator` yields (first step, last step,
iterator) in ``_steps``; the adapter gives ``fit`` what its version expects. Steps are 0-based
within the epoch.
"""

from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs.keras_compat.keras_support import Release, nearest

_PARTIAL: Final = (
    "With this version of Keras the last execution of an epoch fails after some of its steps"
)
_PARTIAL_OTHERWISE: Final = "let steps_per_execution divide the batches of an epoch"
_WORKERS: Final = (
    "With this version of Keras the workers of a PyDataset call its on_epoch_end at a time that "
    "differs each time"
)


class Loop:
    """Adapt to Keras 3.11 and newer: the iterator yields both steps of an execution.

    Attributes:
        begins_next_pass: an iterator for the next pass is created when one has ended.
    """

    begins_next_pass = True

    data_adapter: Any
    steps_per_execution: int
    steps_per_epoch: int | None
    _num_batches: int | None
    _steps_seen: int
    _current_iterator: Any

    def _steps(self) -> Iterator[tuple[int, int, Any]]:
        raise NotImplementedError

    def _enumerate_iterator(self) -> Iterator[Any]:
        return self._steps()

    def last_step(self, batch: int) -> int:
        """Return the last step of an execution from the batch that callbacks are given."""
        return batch

    @property
    def reads(self) -> bool:
        """True if a pass is begun and not read to its end: threads read ahead."""
        begun = self._current_iterator is not None and self._steps_seen > 0
        return begun and not self._is_pass_over()

    def _is_pass_over(self) -> bool:
        return bool(self._num_batches and self._steps_seen >= self._num_batches)

    def limits(self) -> list[tuple[str, str]]:
        """List what this version of Keras itself leaves undefined, each with a remedy."""
        return []


class PairLoop(Loop):
    """Adapt to Keras 3.7 to 3.10: the iterator yields the first step of an execution alone."""

    def _enumerate_iterator(self) -> Iterator[Any]:
        for first, _, iterator in self._steps():
            yield first, iterator

    def last_step(self, batch: int) -> int:
        return batch + self.steps_per_execution - 1


class EnumeratedLoop(Loop):
    """Adapt to Keras 3.5 and 3.6: ``fit`` iterates over ``enumerate_epoch``."""

    begins_next_pass = False

    _current_iterator = None
    _steps_seen = 0

    def enumerate_epoch(self) -> Iterator[Any]:
        for first, last, iterator in self._steps():
            yield first if self._is_sized else last, iterator

    def last_step(self, batch: int) -> int:
        return batch + self.steps_per_execution - 1 if self._is_sized else batch

    def limits(self) -> list[tuple[str, str]]:
        found = []
        steps, size = self.steps_per_execution, self.steps_per_epoch or self._num_batches
        if steps > 1 and (size is None or size % steps):
            found.append((_PARTIAL, f"install Keras {nearest('3.7')}, or {_PARTIAL_OTHERWISE}"))
        adapter = self.data_adapter
        if hasattr(adapter, "py_dataset") and has_workers(adapter) and adapter.enqueuer is None:
            found.append((_WORKERS, f"install Keras {nearest('3.6')}, or remove workers"))
        return found

    @property
    def _is_sized(self) -> bool:
        return bool(self.steps_per_epoch or self._num_batches)


class PlainLoop:
    """Leave Keras' iterator as it is; Keras 3.7 and newer keep the iterator of the pass."""


class EnumeratedPlainLoop:
    """Keep the iterator of the pass, and count its steps, as newer versions of Keras do."""

    steps_per_execution: int
    _num_batches: int | None
    _current_iterator: Any
    _steps_seen: int

    def enumerate_epoch(self) -> Iterator[Any]:
        for step, iterator in super().enumerate_epoch():  # type: ignore[misc]
            self._current_iterator = iterator
            if self._num_batches:
                self._steps_seen = step + self.steps_per_execution
            yield step, iterator


def has_workers(adapter: Any) -> bool:
    """Return whether threads or processes read the ``PyDataset`` of an adapter."""
    data = adapter.py_dataset
    # not the enqueuer: Keras 3.5 makes it at each pass
    return bool(data.workers > 1 or (data.workers > 0 and data.use_multiprocessing))


_OLDEST_PAIRS: Final = (3, 7)
_OLDEST_TRIPLES: Final = (3, 11)


def of(release: Release) -> type[Loop]:
    """Choose the adapter of the training loop of a release of Keras; pure."""
    if release < _OLDEST_PAIRS:
        return EnumeratedLoop
    return PairLoop if release < _OLDEST_TRIPLES else Loop


def plain_of(release: Release) -> type:
    """Choose the adapter of Keras' own iterator over validation data; pure."""
    return EnumeratedPlainLoop if release < _OLDEST_PAIRS else PlainLoop
