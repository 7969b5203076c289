"""Gather the facts of a period from the ledger, the run folders and the host."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.client import held, progress
from rekindle.daemon.client.morning import Morning
from rekindle.daemon.client.progress import Progress
from rekindle.daemon.report import host
from rekindle.daemon.report.host import Host
from rekindle.jobs import heartbeat
from rekindle.jobs.metrics import higher_is_better
from rekindle.state.ledger.held_time import HeldTime
from rekindle.state.ledger.period import Best, Period, Turn
from rekindle.state.ledger.rows import CheckpointRow, EventRow, JobRow
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Home

EVENTS: Final = frozenset(
    {
        "checkpoint_refused",
        "clock_jumped",
        "code_replaced",
        "disk_full",
        "disk_has_room",
        "driver_answers",
        "driver_trouble",
        "gpu_failed",
        "gpu_set_aside",
        "gpu_taken_back",
        "job_accepted",
        "job_cancelled",
        "job_done",
        "job_failed",
        "job_held",
        "ledger_rebuilt",
        "preemption_lifted",
        "preemption_noticed",
        "queue_paused",
        "queue_resumed",
        "save_failed",
        "spec_rejected",
    }
)
"""Events of a timeline; starts and ends of attempts are read from the attempts."""
_TIMED: Final = ACTIVE | {JobState.DONE}


@dataclass(frozen=True, slots=True)
class Saved:
    """Describe where a model is.

    Attributes:
        path: the folder of the checkpoint.
        step: batches of the run in it.
        best: it is the best one by the spec's `monitor`, else the newest.
    """

    name: str
    path: str
    step: int
    best: bool


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Hold what is known of one job.

    Attributes:
        turns: its attempts in the period.
        furthest: the last step that any attempt reached.
        kept: the step of its newest good checkpoint; None without one.
        saved: where its model is.
        best: the best value of its metric.
        before: the id and the best value of the last done job of that name.
        far: how far it is, while it runs.
        seen: unix time of the last sign of life of its attempt, while it runs.
        command: it runs a command, whose model only the command knows.
        held: how its time divides, of a job that is done or runs.
    """

    row: JobRow
    turns: tuple[Turn, ...] = ()
    furthest: int | None = None
    kept: int | None = None
    saved: Saved | None = None
    best: Best | None = None
    before: tuple[str, Best] | None = None
    far: Progress | None = None
    seen: float | None = None
    command: bool = False
    held: HeldTime | None = None


@dataclass(frozen=True, slots=True)
class PointFacts:
    """Hold a job of a grid, and the best value of its metric."""

    row: JobRow
    best: Best | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what is known of a home and a period.

    Attributes:
        since, now: unix times of the period.
        jobs: those that run, are held, or have ended or waited in it.
        counts: of all jobs of the home, by state.
        events: those of `EVENTS` in the period, oldest first.
        home: what else a person has to know.
        host: None where it was not looked at.
        grids: all jobs of each grid that one of `jobs` belongs to, in the order of their points.
    """

    since: float
    now: float
    jobs: tuple[JobFacts, ...]
    counts: dict[JobState, int]
    events: tuple[EventRow, ...]
    home: Morning
    host: Host | None
    grids: tuple[tuple[PointFacts, ...], ...] = ()


def brief(book: Period, home: Morning, since: float, now: float) -> Facts:
    """Gather what the headline needs, quickly: `ls` prints it."""
    turns = book.all_turns(since)
    jobs = [
        JobFacts(
            row, tuple(turns.get(row.id, ())), *_reached(book, row), seen=_seen(home.home, row)
        )
        for row in book.touched(since)
    ]
    return Facts(since, now, tuple(jobs), book.counts(), (), home, None)


def read(place: Home, book: Period | None, since: float, now: float) -> Facts:
    """Gather everything of a period.

    Args:
        book: None where no daemon has served the home yet.
    """
    home = Morning.of(place, book, now)
    if book is None:
        return Facts(since, now, (), {}, (), home, host.look(place))
    jobs = tuple(_job(place, book, row, since, now) for row in book.touched(since))
    events = tuple(book.happened(since, EVENTS))
    grids = dict.fromkeys(one.row.grid for one in jobs if one.row.grid is not None)
    known = {one.row.id: one.best for one in jobs}
    points = tuple(
        tuple(
            PointFacts(row, known[row.id] if row.id in known else _best_of(book, row))
            for row in book.jobs(grid=grid)
        )
        for grid in grids
    )
    return Facts(since, now, jobs, book.counts(), events, home, host.look(place), points)


def of_job(place: Home, book: Period, job_id: str, since: float, now: float) -> JobFacts | None:
    """Gather what is known of one job; None if it does not exist."""
    row = book.job(job_id)
    return None if row is None else _job(place, book, row, since, now)


def _job(place: Home, book: Period, row: JobRow, since: float, now: float) -> JobFacts:
    spec = book.spec(row.id)
    # the points of a grid are compared in a table of their own
    compares = row.state == JobState.DONE and row.grid is None
    before = book.done_before(row) if compares else None
    theirs = None if before is None else _best(book, before.id, book.spec(before.id))
    return JobFacts(
        row,
        tuple(book.turns(row.id, since)),
        *_reached(book, row),
        saved=_saved(place, row, book.checkpoints(row.id)),
        best=_best(book, row.id, spec),
        before=None if before is None or theirs is None else (before.id, theirs),
        far=progress.of(place, book, row, book.latest(row), now) if row.state in ACTIVE else None,
        seen=_seen(place, row),
        command=bool(spec.get("command")),
        held=held.of(place, book, row) if row.state in _TIMED else None,
    )


def _seen(place: Home, row: JobRow) -> float | None:
    """Return when a running attempt last moved: it may have died with the daemon."""
    if row.state not in ACTIVE:
        return None
    beat = heartbeat.read(place.run(row.id).heartbeat)
    return None if beat is None or beat.attempt != row.attempts else beat.at


def _reached(book: Period, row: JobRow) -> tuple[int | None, int | None]:
    if row.state not in (JobState.FAILED, JobState.CANCELLED):
        return None, None  # nothing of the others is lost
    good = [one.step for one in book.checkpoints(row.id) if one.good]
    return book.furthest_step(row.id), max(good, default=None)


def _saved(place: Home, row: JobRow, checkpoints: list[CheckpointRow]) -> Saved | None:
    """Find the best checkpoint that exists, else the newest one."""
    good = sorted(
        (one for one in checkpoints if one.good), key=lambda one: (one.best, one.stage, one.step)
    )
    for one in reversed(good):
        path = Path(row.run_dir) / one.path
        if _exists(path):
            return Saved(one.name, str(path), one.step, one.best)
    return None


def _exists(path: Path) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # this user may not look
    return True


def _best_of(book: Period, row: JobRow) -> Best | None:
    return _best(book, row.id, book.spec(row.id)) if row.attempts else None


def _best(book: Period, job_id: str, spec: dict[str, Any]) -> Best | None:
    stage = book.last_stage(job_id)
    if stage is None:
        return None
    policy = spec.get("checkpoint") or {}
    logs = book.metrics(job_id, stage)
    wanted = policy.get("monitor") if isinstance(policy, dict) else None
    for metric in (wanted, "val_loss", "loss", *sorted(logs)):
        if isinstance(metric, str) and metric in logs:
            mode = str(policy.get("mode") or "auto") if metric == wanted else "auto"
            return book.best(job_id, stage, metric, higher=higher_is_better(metric, mode))
    return None
