"""Say of each job in the order what it waits for; the ledger is written only when that changes."""

import time
from collections.abc import Collection
from typing import NamedTuple

import structlog

from rekindle.daemon.queueing.lineup import Lineup
from rekindle.daemon.queueing.pool import Pool
from rekindle.daemon.queueing.scheduler import Lane, Scheduler
from rekindle.daemon.queueing.window import Windows
from rekindle.state.ledger.ledger import Ledger


class Words(NamedTuple):
    """State what jobs wait for, and what could be done about it."""

    reason: str
    hint: str = ""


class WaitReasons:
    """Record what the jobs of each lane wait for, and report each reason once."""

    def __init__(
        self, ledger: Ledger, pool: Pool, scheduler: Scheduler, lineup: Lineup, windows: Windows
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._scheduler = scheduler
        self._lineup = lineup
        self._windows = windows
        self._reported: dict[Lane, Words] = {}
        self._log = structlog.get_logger()

    def update(self, *, paused: bool) -> None:
        """Record the reasons of now; hold the jobs that ask for more than the host has."""
        before, self._reported = self._reported, {}  # nothing counts as reported if this fails
        reported: dict[Lane, Words] = {}
        fresh = self._scheduler.take_fresh()
        for lane, ids in [(lane, set(ids)) for lane, ids in self._scheduler.lanes()]:
            if lane.gpus > self._pool.count and self._pool.known:
                self._hold_all(ids, lane)
                continue
            words = self._words(lane, paused=paused)
            concerned: Collection[str] = ids if before.get(lane) != words else ids & fresh
            if concerned:
                self._ledger.set_waiting(concerned, words.reason, hint=words.hint, now=time.time())
                self._log.info("jobs_wait", jobs=len(concerned), reason=words.reason)
            reported[lane] = words
        self._reported = reported
        # what was written here is known here
        self._lineup.follow()

    def _hold_all(self, ids: Collection[str], lane: Lane) -> None:
        has = self._pool.count or "none"
        for job_id in ids:
            self._lineup.hold(
                job_id,
                f"It asks for {_count(lane.gpus)}, and this host has {has}.",
                "Ask for fewer, or submit it on another host.",
            )

    def _words(self, lane: Lane, *, paused: bool) -> Words:
        window = lane.window
        if paused:
            return Words("The queue is paused.", "`rekindle resume` resumes it.")
        if window is not None and not self._windows.is_open(window):
            return Words(f"It waits until {window[:5]}, when its window {window} opens.")
        if not lane.gpus:
            return Words("It waits for a CPU slot.")
        reason = f"It waits for {_count(lane.gpus)}"
        if lane.gpus > self._pool.stock.reclaimable:
            return self._unavailable(reason)
        return Words(f"{reason}.")

    def _unavailable(self, reason: str) -> Words:
        trouble = self._pool.trouble
        why = [*([trouble] if trouble else []), *self._pool.stock.unavailable]
        text = f"{reason}: {'; '.join(why)}." if why else f"{reason}."
        if trouble:
            return Words(text, "`gpus = 0` in its spec would let it run without.")
        if any("set aside" in one for one in why):
            return Words(text, "`rekindle resume --gpu N` uses one again that was set aside.")
        return Words(text)


def _count(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"
