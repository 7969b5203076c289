"""Choose and remove checkpoints: never the last good or the best one of a job.

A job that has ended is reduced to these two, the ends of its finished stages, which hold its
History, and the newest checkpoint of each other stage; a held job to as many as its spec keeps.
Checkpoints of a running, queued or waiting job are pruned by its trainer. The choice is pure;
checkpoints are removed under the run's lock, and only after a newer one was verified.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rekindle.daemon.config import Retention
from rekindle.daemon.source import snapshot, store
from rekindle.jobs.job import Job
from rekindle.state import lock
from rekindle.state.errors import LockHeld, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, journal, kept_files

UNUSED_S: Final = 3600.0
"""Age at which an unused snapshot is removed: a younger one may belong to a spec in progress."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Describe something removable: a checkpoint, or a quarantined one."""

    path: Path
    bytes: int
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Stock:
    """Describe the checkpoints of a job that does not run.

    Attributes:
        over: done, failed or cancelled; else held.
        since: unix time of the end, seconds.
        keep: how many of its newest good checkpoints are kept.
        best: names of checkpoints that are always kept.
        removable: what would be removed if all newest checkpoints were good.
    """

    job: str
    over: bool
    since: float
    attempts: int
    keep: int
    best: frozenset[str]
    removable: tuple[Piece, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.removable)


@dataclass(frozen=True, slots=True)
class Removed:
    """State what was removed of one job, or the ``reason`` why nothing was."""

    job: str
    names: tuple[str, ...] = ()
    bytes: int = 0
    reason: str = ""


def stocks(ledger: Ledger, only: Collection[str] | None = None) -> list[Stock]:
    """List the jobs that may be reduced from the ledger alone, without reading their folders."""
    found = []
    for row in ledger.jobs(states={*TERMINAL, JobState.HELD}):
        if only is not None and row.id not in only:
            continue
        over = row.state in TERMINAL
        keep = 1 if over else _kept(ledger, row.id)
        best = frozenset(c.name for c in ledger.checkpoints(row.id) if c.best)
        found.append(Stock(row.id, over, row.updated_at, row.attempts, keep, best))
    return found


def _kept(ledger: Ledger, job: str) -> int:
    """Return how many checkpoints a job keeps; all of them if its spec cannot be read."""
    try:
        return Job.from_json(ledger.spec_text(job)).checkpoint.keep
    except SpecError:
        return sys.maxsize


def look(run: Run, stock: Stock) -> Stock:
    """Add to a stock what can be removed from its folder."""
    present = checkpoints.scan(run.checkpoints)
    found = [
        Piece(checkpoint.path, checkpoint.bytes)
        for checkpoint in checkpoints.surplus(present, stock.keep, stock.best, lambda _: None)
    ]
    if present:
        found += [Piece(path, size_of(path), quarantined=True) for path in _quarantined(run)]
    return replace(stock, removable=tuple(found))


def choose(
    candidates: Iterable[Stock], limits: Retention, *, total: int, now: float
) -> list[Stock]:
    """Choose the jobs to reduce, in order.

    Args:
        total: bytes of the whole home.
        now: unix time, seconds.

    By age: all that ended longer than ``max_age`` ago. By size: as many more as bring the home
    below ``max_bytes``, ended jobs before held ones, the oldest first.
    """
    rest = sorted((c for c in candidates if c.removable), key=lambda c: (not c.over, c.since))
    chosen = []
    for stock in rest:
        old = limits.max_age is not None and stock.over and now - stock.since > limits.max_age
        large = limits.max_bytes is not None and total > limits.max_bytes
        if old or large:
            chosen.append(stock)
            total -= stock.bytes
    return chosen


def reduce(run: Run, stock: Stock) -> Removed:
    """Remove what a job does not need, and journal it; nothing if no checkpoint is good.

    Raises:
        OSError: the run directory cannot be written; what was removed is journaled.
    """
    names: list[str] = []
    freed = 0
    try:
        with lock.held(run.lock, "An attempt is alive.", "Wait until it has ended."):
            good = checkpoints.latest_good(run.checkpoints).checkpoint
            if good is None:
                return Removed(stock.job, reason="none of its checkpoints is good")
            best = set(stock.best)
            with contextlib.suppress(OSError, ValueError, LookupError, AttributeError, TypeError):
                best.add(str(good.read_manifest()["monitor"]["best_name"]))
            sizes = {c.name: c.bytes for c in checkpoints.scan(run.checkpoints)}
            for gone in checkpoints.prune(
                run.checkpoints, stock.keep, best, verdicts={good.name: None}
            ):
                journal.append(
                    run.journal, "checkpoint_pruned", attempt=stock.attempts, name=gone.name
                )
                names.append(gone.name)
                freed += sizes.get(gone.name, 0)
            with contextlib.suppress(OSError, ValueError):
                present = checkpoints.scan(run.checkpoints)
                freed += kept_files.collect(run.kept_files, kept_files.needed(present))
            for path in _quarantined(run):
                size = size_of(path)
                journal.append(
                    run.journal,
                    "quarantine_pruned",
                    attempt=stock.attempts,
                    name=path.name.partition(".")[0],
                )
                shutil.rmtree(path, ignore_errors=True)
                path.with_name(f"{path.name}.reason.txt").unlink(missing_ok=True)
                names.append(f"quarantine/{path.name}")
                freed += size
    except LockHeld:
        return Removed(stock.job, reason="an attempt of it is alive")
    return Removed(stock.job, tuple(names), freed)


def remove_unused_sources(home: Home, now: float) -> int:
    """Remove snapshots that no run links to, as only the daemon may; return their bytes."""
    freed = 0
    used = set(snapshot.used(home.runs))
    for path in unused_sources(home, used, now):
        size = size_of(path)
        doomed = path.with_name(f".tmp-{path.name}-unused")
        with store.REMOVAL:
            if not _is_old(path.stat().st_mtime, now):
                continue  # a spec has come meanwhile that uses it
            os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        freed += size
    return freed


def unused_sources(home: Home, used: Collection[str], now: float) -> Iterator[Path]:
    """Find the snapshots that are not in ``used`` and old enough to be removed."""
    try:
        entries = list(os.scandir(home.sources))
    except FileNotFoundError:
        return  # the home of an older version
    for entry in entries:
        if (
            not entry.name.startswith(".")
            and entry.name not in used
            and _is_old(entry.stat(follow_symlinks=False).st_mtime, now)
        ):
            yield Path(entry.path)


def _is_old(used_at: float, now: float) -> bool:
    return now - used_at > UNUSED_S


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; links count as themselves."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _quarantined(run: Run) -> list[Path]:
    try:
        return sorted(
            Path(entry.path)
            for entry in os.scandir(run.quarantine)
            if entry.is_dir(follow_symlinks=False)
        )
    except FileNotFoundError:
        return []
