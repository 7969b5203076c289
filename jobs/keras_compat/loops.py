"""Adapters of Keras' training loops: how ``fit`` asks its iterator for the batches of an epoch.

An iterator of :mod:`rekindle.jobs.data.fit_iterator` yields (first step, last step, iterator) in
``_steps``; the adapter gives ``fit`` what its version expects. Steps are 0-based within the epoch.
"""

from collections.abc import Iterator
from typing import Any, Final

Release = tuple[int, ...]


class Loop:
    """Adapt to Keras 3.11 and newer: the iterator yields both steps of an execution.

    Attributes:
        begins_next_pass: an iterator for the next pass is created when one has ended.
        fills_executions: an execution of several steps ends where the data ends; otherwise it
            fails there, and what it trained by then is undefined.
    """

    begins_next_pass = True
    fills_executions = True

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
    fills_executions = False

    def enumerate_epoch(self) -> Iterator[Any]:
        for first, last, iterator in self._steps():
            yield first if self._is_sized else last, iterator

    def last_step(self, batch: int) -> int:
        return batch + self.steps_per_execution - 1 if self._is_sized else batch

    @property
    def _is_sized(self) -> bool:
        return bool(self.steps_per_epoch or self._num_batches)


class PlainLoop:
    """Leave Keras' iterator as it is; Keras 3.7 and newer keep the iterator of the pass."""


class EnumeratedPlainLoop:
    """Keep the iterator of the pass, and count its steps, as newer versions of Keras do."""

    def enumerate_epoch(self) -> Iterator[Any]:
        own: Any = self
        for step, iterator in super().enumerate_epoch():  # type: ignore[misc]
            own._current_iterator = iterator
            if own._num_batches:
                own._steps_seen = step + own.steps_per_execution
            yield step, iterator


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
