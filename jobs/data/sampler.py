"""Sampler for a ``DataLoader`` of PyTorch whose order is a function of seed and epoch."""

import multiprocessing
import random
import sys
from collections.abc import Callable, Iterator, Sized
from typing import Any, Final

import numpy as np

from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.data.shuffle import order

_WORKERS: Final = Caveat(
    "The workers of the DataLoader start over in a relaunch, and what they draw from then on is "
    "not restored",
    "let the dataset draw from a generator that __getitem__ makes from the index",
)


class ResumableSampler:
    """Sample a dataset in an order that is a function of seed and epoch.

    A ``DataLoader`` with it begins at any batch without reading the ones before, with workers or
    without. A ``resumable`` loop sets the epoch; elsewhere call ``set_epoch``, as for the
    ``DistributedSampler`` of PyTorch.

    Args:
        data: the dataset, or anything else that has a length.
        seed: of the order.
        shuffle: False keeps the order of the dataset.
    """

    def __init__(self, data: Sized, *, seed: int = 0, shuffle: bool = True) -> None:
        self._data = data
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch whose order comes next.

        Args:
            start: samples of it to skip.
        """
        self.epoch = epoch
        self.start = start

    def __iter__(self) -> Iterator[int]:
        """Iterate over the rest of the epoch."""
        rows = order((self.seed, 0), self.epoch, len(self._data), 1, self.shuffle)
        return iter(rows[self.start :].tolist())

    def __len__(self) -> int:
        """Return the number of samples of an epoch, whatever was skipped."""
        return len(self._data)


def begin(loader: Any, number: int, first: int) -> bool:
    """Let a loader begin pass ``number`` at batch ``first``; False if it has no such sampler."""
    found = _of(loader)
    if found is None:
        return False
    sampler, size = found
    sampler.set_epoch(number, first * size)
    if loader.num_workers and _forks(loader):
        collate, prepare = loader.collate_fn, loader.worker_init_fn
        seeded = SeededBatches(
            collate.plain if isinstance(collate, SeededBatches) else collate,
            collate.prepare if isinstance(collate, SeededBatches) else prepare,
            (sampler.seed, number, first),
            loader.num_workers,
        )
        loader.collate_fn, loader.worker_init_fn = seeded, seeded.enter
    return True


def caveats(loader: Any) -> list[Caveat]:
    """Name what of a loader with such a sampler is not restored."""
    if _of(loader) is None or not loader.num_workers or _forks(loader):
        return []
    return [_WORKERS]


def _of(loader: Any) -> tuple[ResumableSampler, int] | None:
    batches = getattr(loader, "batch_sampler", None)
    sampler, size = getattr(batches, "sampler", None), getattr(batches, "batch_size", None)
    if isinstance(sampler, ResumableSampler) and isinstance(size, int):
        return sampler, size
    return None


def _forks(loader: Any) -> bool:
    """Return whether workers are forked for each pass: only these know their batch."""
    context = loader.multiprocessing_context or multiprocessing
    return not loader.persistent_workers and context.get_start_method() == "fork"


class SeededBatches:
    """Seed the generators of a worker before each of its batches, by the number of the batch.

    It takes the place of the function that makes a batch of samples.

    Args:
        plain: makes a batch.
        prepare: the script's own ``worker_init_fn``.
        begun: seed, pass, and first batch of the pass.
        workers: they take batches in turn.
    """

    def __init__(
        self,
        plain: Callable[[Any], Any],
        prepare: Callable[[int], None] | None,
        begun: tuple[int, int, int],
        workers: int,
    ) -> None:
        self.plain = plain
        self.prepare = prepare
        self._begun = begun
        self._workers = workers
        self._next = 0

    def enter(self, worker: int) -> None:
        """Begin in a worker, before its first batch."""
        if self.prepare is not None:
            self.prepare(worker)
        self._next = self._begun[2] + worker
        self._seed()

    def __call__(self, samples: Any) -> Any:
        """Make a batch; the next one of this worker draws from its own seed."""
        batch = self.plain(samples)
        self._next += self._workers
        self._seed()
        return batch

    def _seed(self) -> None:
        seed, number, _ = self._begun
        found = np.random.SeedSequence([seed % 2**64, number, self._next]).generate_state(3)
        random.seed(int(found[0]))
        np.random.seed(int(found[1]))  # noqa: NPY002 - the script may draw from it
        sys.modules["torch"].manual_seed(int(found[2]))
