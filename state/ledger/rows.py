"""Represent rows of the ledger as plain values."""

import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from rekindle.state.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class _Row:
    @classmethod
    def of(cls, row: Iterable[Any]) -> Self:
        """Convert a row whose columns are the fields, in their order."""
        values = list(row)
        for index, convert in _conversions(cls):  # type: ignore[arg-type]
            values[index] = convert(values[index])
        return cls(*values)


def _json(value: str | None) -> Any:
    return None if value is None else json.loads(value)


_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "logs": _json,
    "data": _json,
    "receipt": _json,
    "failure": _json,
    "spec": _json,
    "gpus": _json,
    "point": _json,
    "provenance": _json,
    "times": _json,
    "state": JobState,
    "good": bool,
    "best": bool,
    "count": lambda value: value or 1,
}


@functools.cache
def _conversions(kind: type[_Row]) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    # cached for each kind: `ls` converts ten thousand rows
    return tuple(
        (index, _CONVERSIONS[f.name])
        for index, f in enumerate(fields(kind))
        if f.name in _CONVERSIONS
    )


@dataclass(frozen=True, slots=True)
class JobRow(_Row):
    """A job; times in unix seconds. ``rowid`` grows in the order of arrival.

    ``run_dir`` is where the run directory is now, in the home of this ledger. ``uid`` and ``user``
    are who submitted it, ``asked_by`` the name of who asked for ``wish``. ``grid`` is what the jobs
    of one parameter grid have in common, ``point`` the parameters of this one.
    """

    id: str
    name: str
    number: int
    state: JobState
    reason: str
    hint: str
    wish: str | None
    priority: int
    run_dir: str
    submitted_at: float
    updated_at: float
    next_at: float | None
    failures: int
    attempts: int
    journal_offset: int
    rowid: int
    uid: int | None
    user: str | None
    asked_by: str | None
    grid: str | None
    point: dict[str, Any] | None

    @property
    def point_text(self) -> str:
        """Return the parameters as people read them: ``lr=0.1 units=32``; empty without a grid."""
        return " ".join(f"{name}={_word(value)}" for name, value in (self.point or {}).items())


def _word(value: Any) -> str:
    if isinstance(value, str):
        plain = value.isprintable() and value and not set(value) & set(" \"'")
        return value if plain else json.dumps(value)
    return json.dumps(value)


@dataclass(frozen=True, slots=True)
class AttemptRow(_Row):
    """One start of a job's training process; ``outcome`` is None while it runs.

    ``gpus``: UUIDs of its GPUs; ``seconds``: its duration by the keeper's own clock;
    ``unfollowed``: what it reported about training that is not saved; ``times``: seconds by class,
    None of a command or of an older version; ``spare``: why the warm spare that waited was not
    used, empty if it was, None if none waited.
    """

    job: str
    n: int
    outcome: str | None
    cause: str | None
    started_at: float
    ended_at: float | None
    exit_code: int | None
    signal: int | None
    keeper_pid: int | None
    keeper_start: int | None
    trainer_pid: int | None
    trainer_start: int | None
    boot_id: str | None
    from_epoch: int | None
    from_step: int | None
    to_epoch: int | None
    to_step: int | None
    lost_steps: int | None
    receipt: dict[str, Any] | None
    failure: dict[str, Any] | None
    provenance: dict[str, Any] | None
    gpus: list[str] | None
    seconds: float | None
    unfollowed: str | None
    times: dict[str, float] | None
    spare: str | None


@dataclass(frozen=True, slots=True)
class EpochRow(_Row):
    """A finished epoch, 0-based; ``step`` is the number of batches of the run after it."""

    stage: int
    epoch: int
    step: int
    seconds: float | None
    logs: dict[str, Any]
    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class CheckpointRow(_Row):
    """A checkpoint on disk, or a refused one (``good`` is False, with its reason)."""

    name: str
    stage: int
    epoch: int
    step: int
    bytes: int
    good: bool
    best: bool
    reason: str
    path: str
    at: float


@dataclass(frozen=True, slots=True)
class EventRow(_Row):
    """Something that happened, as `rekindle show` lists it.

    ``count``: how often it happened in a row; ``last_at``: the last time, None for once.
    """

    id: int
    at: float
    job: str | None
    attempt: int | None
    kind: str
    data: dict[str, Any]
    count: int
    last_at: float | None
