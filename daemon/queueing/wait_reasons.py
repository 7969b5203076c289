"""Record what each job in a lane waits for; write to the ledger only if that has changed."""

import time
from collections.abc import Collection
from typing import Final, NamedTuple

import structlog

from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queueing.lineup import Lineup
from rekindle.daemon.queueing.scheduler import Lane, Scheduler
from rekindle.daemon.queueing.window import Windows
from rekindle.state.ledger.ledger import Ledger

_FEWER: Final = "Reduce `gpus` in its spec and submit it again."


class WaitReason(NamedTuple):
    """State what jobs wait for, and what a person can do about it."""

    text: str
    hint: str = ""


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
        self._log = structlog.get_logger()

    def update(self, *, paused: bool) -> None:
        """Record the current reasons; hold the jobs that ask for more GPUs than the host has."""
        before, self._reported = self._reported, {}  # after an error all is reported again
        reported: dict[Lane, WaitReason] = {}
        fresh = self._scheduler.take_fresh()
        for lane, ids in [(lane, set(ids)) for lane, ids in self._scheduler.lanes()]:
            if lane.gpus > self._pool.count and self._pool.known:
                self._hold_all(ids, lane)
                continue
            if too_many := self._lineup.hold_reason(lane):
                for job_id in ids:
                    self._lineup.hold(job_id, too_many, _FEWER)
                continue
            reason = self._reason(lane, paused=paused)
            concerned: Collection[str] = ids if before.get(lane) != reason else ids & fresh
            if concerned:
                self._ledger.set_waiting(concerned, reason.text, hint=reason.hint, now=time.time())
                self._log.info("jobs_wait", jobs=len(concerned), reason=reason.text)
            reported[lane] = reason
        self._reported = reported
        # sort the jobs that were just changed, so that the next tick need not
        self._lineup.follow()

    def _hold_all(self, ids: Collection[str], lane: Lane) -> None:
        has = self._pool.count or "none"
        for job_id in ids:
            self._lineup.hold(
                job_id,
                f"It asks for {_count(lane.gpus)}, and this host has {has}.",
                f"{_FEWER[:-1]}, or submit it on another host.",
            )

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
