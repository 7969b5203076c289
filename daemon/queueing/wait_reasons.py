"""Record what each job in a lane waits for; write to the ledger only if that has changed."""

import itertools
import time
from typing import Final, NamedTuple

import structlog

from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queueing.lineup import Lineup
from rekindle.daemon.queueing.scheduler import Lane, Scheduler
from rekindle.daemon.queueing.window import Windows
from rekindle.state.ledger.ledger import Ledger

_FEWER: Final = "Reduce `gpus` in its spec and submit it again."
_MOST_ROWS: Final = 100
"""Reasons that one tick writes: a pause of ten thousand jobs must not delay anything else."""
_MOST_HOLDS: Final = 5
"""Jobs that one tick holds: each is an fsync of its journal."""


class WaitReason(NamedTuple):
    """State what jobs wait for, or why they are held, and what a person can do about it."""

    text: str
    hint: str = ""
    holds: bool = False


class WaitReasons:
    """Record what the jobs of each lane wait for, and log each reason once."""

    def __init__(
        self, ledger: Ledger, pool: Pool, scheduler: Scheduler, lineup: Lineup, windows: Windows
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._scheduler = scheduler
        self._lineup = lineup
        self._windows = windows
        self._reported: dict[Lane, WaitReason] = {}
        self._stale: dict[Lane, set[str]] = {}
        self._log = structlog.get_logger()

    def update(self, *, paused: bool) -> None:
        """Record the current reasons; hold the jobs that ask for more GPUs than the host has."""
        self._find_changed(paused=paused)
        left = _MOST_ROWS
        for lane, ids in list(self._scheduler.lanes()):
            stale = self._stale.get(lane)
            if not stale or left <= 0:
                continue
            some = list(itertools.islice(stale, left))
            left -= len(some)
            here = [job for job in some if job in ids]
            stale.difference_update(set(some).difference(here))  # they have left the lane
            reason = self._reported[lane]
            if reason.holds:
                here = here[:_MOST_HOLDS]
                for job_id in here:
                    self._lineup.hold(job_id, reason.text, reason.hint)
            elif here:
                self._ledger.set_waiting(here, reason.text, hint=reason.hint, now=time.time())
            # removed last: after an error the next tick repeats it
            stale.difference_update(here)
        # sort the jobs that were just changed, so that the next tick need not
        self._lineup.follow()

    @property
    def is_behind(self) -> bool:
        """Return whether reasons are left that the last update had no time to record."""
        return any(self._stale.values())

    def _find_changed(self, *, paused: bool) -> None:
        """Note the jobs whose reason is new; a walk over all jobs only when a reason changes."""
        fresh = self._scheduler.take_fresh()
        lanes = dict(self._scheduler.lanes())
        for gone in self._reported.keys() - lanes.keys():
            del self._reported[gone], self._stale[gone]
        for lane, ids in lanes.items():
            reason = self._never(lane) or self._reason(lane, paused=paused)
            if self._reported.get(lane) != reason:
                new = set(ids)
                self._stale[lane] = new
                self._reported[lane] = reason
            else:
                new = {*(ids & fresh)}
                self._stale[lane].update(new)
            if new and not reason.holds:
                self._log.info("jobs_wait", jobs=len(new), reason=reason.text)

    def _never(self, lane: Lane) -> WaitReason | None:
        """State why the jobs of a lane can never start here; None if they can."""
        if lane.gpus > self._pool.count and self._pool.known:
            return WaitReason(
                f"It asks for {_count(lane.gpus)}, and this host has {self._pool.count or 'none'}.",
                f"{_FEWER[:-1]}, or submit it on another host.",
                holds=True,
            )
        too_many = self._lineup.hold_reason(lane)
        return WaitReason(too_many, _FEWER, holds=True) if too_many else None

    def _reason(self, lane: Lane, *, paused: bool) -> WaitReason:
        window = lane.window
        if paused:
            return WaitReason("The queue is paused.", "`rekindle resume` resumes it.")
        if window is not None and not self._windows.is_open(window):
            return WaitReason(f"It waits until {window[:5]}, when its window {window} opens.")
        if limited := self._lineup.wait_reason(lane):
            return WaitReason(limited)
        if not lane.gpus:
            return WaitReason("It waits for a CPU slot.")
        reason = f"It waits for {_count(lane.gpus)}"
        if lane.gpus > self._pool.stock.reclaimable:
            return self._unavailable(reason)
        return WaitReason(f"{reason}.")

    def _unavailable(self, reason: str) -> WaitReason:
        trouble = self._pool.trouble
        why = [*([trouble] if trouble else []), *self._pool.stock.unavailable]
        text = f"{reason}: {'; '.join(why)}." if why else f"{reason}."
        if "version mismatch" in trouble:
            hint = "The driver was updated: reboot the host, or load its modules again."
            return WaitReason(text, hint)
        if trouble:
            return WaitReason(text, "With `gpus = 0` in its spec it would run without a GPU.")
        aside = self._pool.stock.aside
        if aside:
            hint = f"`rekindle resume --gpu {aside[0]}` uses it again despite its faults."
            return WaitReason(text, hint)
        return WaitReason(text)


def _count(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"
