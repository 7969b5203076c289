"""Read the curves of a job over all its attempts, downsampled so that a page can draw them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rekindle.state.ledger.period import Period
from rekindle.state.ledger.rows import EpochRow

MOST_POINTS: Final = 2000
"""Up to so many epochs are drawn one by one."""
_BUCKETS: Final = 300
_MOST_METRICS: Final = 12


@dataclass(frozen=True, slots=True)
class Curves:
    """Hold the logged metrics of a job, epoch by epoch.

    Attributes:
        epochs: how many there are in all.
        x: the running number of each epoch that is drawn, the first is 1, over all trainings.
        attempts: the attempt that ended it.
        values: of each metric; None where it has no finite number.
        hidden: names of metrics that are left out.
    """

    epochs: int
    x: tuple[int, ...]
    attempts: tuple[int, ...]
    values: dict[str, tuple[float | None, ...]]
    hidden: tuple[str, ...]


def read(book: Period, job_id: str) -> Curves | None:
    """Read the curves of a job; None where no epoch has ended."""
    count = book.count_epochs(job_id)
    if not count:
        return None
    return of(book.each_epoch(job_id), count)


def of(rows: Iterable[EpochRow], count: int) -> Curves:
    """Make curves of at most about `MOST_POINTS` epochs.

    Of each group of neighbouring epochs the first and the last remain, and those with the lowest
    and the highest value of each metric: a spike of one epoch among 100,000 is still seen.
    """
    kept: list[tuple[int, EpochRow]] = []
    names: dict[str, None] = {}
    for group in _groups(enumerate(rows, 1), count):
        chosen = {group[0][0]: group[0][1], group[-1][0]: group[-1][1]}
        for name in {name: None for _, row in group for name in row.logs}:
            names[name] = None
            if len(names) <= _MOST_METRICS and len(group) > 2:
                chosen.update(_extremes(group, name))
        kept += sorted(chosen.items())
    shown = [*names][:_MOST_METRICS]
    return Curves(
        count,
        tuple(number for number, _ in kept),
        tuple(row.attempt for _, row in kept),
        {name: tuple(number(row.logs.get(name)) for _, row in kept) for name in shown},
        tuple([*names][_MOST_METRICS:]),
    )


def number(value: Any) -> float | None:
    """Return a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _groups(
    numbered: Iterator[tuple[int, EpochRow]], count: int
) -> Iterator[list[tuple[int, EpochRow]]]:
    size = 1 if count <= MOST_POINTS else math.ceil(count / _BUCKETS)
    group: list[tuple[int, EpochRow]] = []
    for one in numbered:
        group.append(one)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _extremes(group: list[tuple[int, EpochRow]], name: str) -> dict[int, EpochRow]:
    values = [
        (value, index)
        for index, (_, row) in enumerate(group)
        if (value := number(row.logs.get(name))) is not None
    ]
    return dict(group[index] for _, index in (min(values), max(values))) if values else {}
