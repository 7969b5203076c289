"""Run the queue: start jobs, end attempts, and record what the other jobs wait for.

An attempt is ended if its window has closed, its `max_runtime` is reached, or the queue was
paused with `--now`.
"""

import time
from typing import Final

import structlog

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.config import PerUser
from rekindle.daemon.gpus.placement import Gpu
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queue_file import QueueFile
from rekindle.daemon.queueing.lineup import Active, Lineup
from rekindle.daemon.queueing.scheduler import MIN_BETWEEN_STARTS_S, Room, Scheduler
from rekindle.daemon.queueing.wait_reasons import WaitReasons
from rekindle.daemon.queueing.window import Windows
from rekindle.state.errors import NotFound
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState

_MAY_STOP: Final = frozenset({JobState.STARTING, JobState.RUNNING})
_CHOICE_BUDGET_S: Final = 0.25
"""Time that one tick may spend on jobs that cannot start."""


class Queue:
    """Run the queue of one home; the tick loop owns it.

    Args:
        slots: how many jobs without a GPU may run at once.
        limits: what one user may have at once.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempts: Attempts,
        pool: Pool,
        file: QueueFile,
        *,
        slots: int,
        limits: PerUser = PerUser(),  # noqa: B008  frozen
    ) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._pool = pool
        self._file = file
        self._slots = slots
        self._scheduler = Scheduler()
        self._lineup = Lineup(ledger, attempts, pool, self._scheduler, limits)
        self._windows = Windows()
        self._reasons = WaitReasons(ledger, pool, self._scheduler, self._lineup, self._windows)
        self._last_start: float | None = None
        self._is_loaded = False
        self._log = structlog.get_logger()

    def load(self) -> None:
        """Load every job that has not ended; to be called once before the first tick."""
        self._pool.refresh(())
        self._lineup.load()

    def tick(self) -> None:
        """End the attempts that must end, start a job, or record what the jobs wait for."""
        self._lineup.follow()
        self._end_attempts()
        self._is_loaded = self._is_loaded or not self._lineup.is_behind
        # a job that is not sorted yet may come first
        if not self._is_loaded:
            return
        if self._start_next():
            self._lineup.follow()
        else:
            self._reasons.update(paused=self._file.now.paused)

    def watch_gpus(self) -> None:
        """Read the GPUs, and end the attempts on those that have failed.

        To be called before ended attempts are settled: one that ended because its GPU failed is
        then known to be no failure of its own.
        """
        self._lineup.follow()
        if self._pool.refresh({uuid for one in self._lineup.active for uuid in one.gpus}):
            self._lineup.look_again()
        for one in self._lineup.active:
            failed = self._pool.failed(one.gpus) if one.row.state in _MAY_STOP else []
            if failed:
                self._end_on_failed(one, failed[0])

    @property
    def is_behind(self) -> bool:
        """Return whether the last tick had no time for all that has changed."""
        return self._lineup.is_behind or self._reasons.is_behind

    def busy(self) -> bool:
        """Return whether any job is active or waits to run."""
        return self._lineup.busy

    def idle(self) -> bool:
        """Return whether no job is left that could continue by itself.

        A job that waits for another can only continue if that one does; a job that needs GPUs
        that are set aside, and a paused queue, wait for a person.
        """
        self._lineup.follow()
        if self._lineup.active or self.is_behind:
            return False
        if self._file.now.paused:
            return True
        if self._scheduler.timed() or self._scheduler.has_fresh:
            return False
        pool = self._pool
        return all(
            pool.stock.reclaimable < lane.gpus <= pool.count and not pool.may_come_back
            for lane, _ in self._scheduler.lanes()
        )

    # requests of a person about the whole queue

    def pause(self, *, free: bool, by: str = "") -> str:
        """Start no job from now on; with ``free`` also save and end running ones.

        Args:
            by: the name of the user who asks; empty if unknown.
        """
        now = self._file.now
        if now.paused and (now.free or not free):
            return "The queue is paused already."
        self._file.decide(paused=True, free=free, since=now.since or time.time(), by=by)
        self._ledger.add_event("queue_paused", data={"free": free, "by": by or None})
        active = self._lineup.active
        if not active:
            return "The queue is paused: nothing new is started."
        if not free:
            return (
                "The queue is paused: nothing new is started; "
                f"{_count_jobs(len(active))} running will continue to the end."
            )
        saved = [self._attempts.saved(one.row) for one in active]
        unsaved = sum(not (one.saves or one.checkpoint) for one in saved)
        who = f"{_count_jobs(len(active))} running"
        answer = f"The queue is paused; {who} will save and return to the queue."
        if unsaved:
            answer += f" Of {unsaved} nothing is saved yet: `rekindle ls` says of which."
        return answer

    def resume(self, *, by: str = "") -> str:
        """Resume a paused queue."""
        if not self._file.now.paused:
            return "The queue is not paused."
        self._file.decide(paused=False, free=False, since=None, by="")
        self._ledger.add_event("queue_resumed", data={"by": by or None})
        return "The queue is resumed."

    def take_back(self, named: str) -> str:
        """Use a GPU that was set aside again, despite its current faults."""
        gpu = self._pool.find(named)
        if gpu is None:
            raise NotFound(
                f"There is no GPU {named}.", hint="`rekindle doctor` lists the GPUs of this host."
            )
        if not gpu.faults:
            return f"GPU {gpu.label} is not set aside."
        self._pool.accept(gpu)
        texts = [fault.text for fault in gpu.faults]
        self._ledger.add_event("gpu_taken_back", data={"gpu": gpu.uuid, "faults": texts})
        if any(fault.kind == "missing" for fault in gpu.faults):
            return f"GPU {gpu.label} is forgotten: the driver does not show it."
        return f"GPU {gpu.label} is used again despite its faults: {'; '.join(texts)}."

    # parts of a tick

    def _end_attempts(self) -> None:
        for one in self._lineup.active:
            if one.row.state not in _MAY_STOP:
                continue
            window, most = one.wants.window, one.wants.max_runtime
            if self._file.now.free:
                self._end(one, "pause", "The queue is paused.", "returns to the queue")
            elif window is not None and not self._windows.is_open(window):
                self._end(one, "window", f"Its window {window} has closed.", "returns to the queue")
            elif most is not None and one.before + self._attempts.running_time(one.row) > most:
                self._end(one, "runtime", "It has reached its `max_runtime`.", "is then held")

    def _end_on_failed(self, one: Active, gpu: Gpu) -> None:
        why = "; ".join(fault.text for fault in gpu.faults)
        text = f"GPU {gpu.label} ({gpu.name}, {gpu.uuid}) is set aside: {why}."
        data = {"gpu": gpu.uuid, "message": text}
        self._ledger.add_event("gpu_failed", job=one.row.id, attempt=one.row.attempts, data=data)
        self._end(one, "gpu", text, "returns to the queue")

    def _end(self, one: Active, stop_reason: str, why: str, then: str) -> None:
        what = self._attempts.saved(one.row).when_asked(then)
        self._attempts.stop(one.row, stop_reason, f"{why} {what}")
        self._log.info("attempt_asked_to_end", job=one.row.id, stop_reason=stop_reason)
        self._lineup.follow()

    def _start_next(self) -> bool:
        """Start the next job; False if no job can start now."""
        if self._file.now.paused:
            return False
        now = time.monotonic()
        if self._last_start is not None and now - self._last_start < MIN_BETWEEN_STARTS_S:
            return True
        # jobs that cannot start now are skipped, so that the ones behind them can start
        while time.monotonic() < now + _CHOICE_BUDGET_S:
            stock = self._pool.stock
            used = sum(not one.gpus for one in self._lineup.active)
            room = Room(max(self._slots - used, 0), len(stock.allocatable), stock.reclaimable)
            chosen = self._scheduler.choose(
                now, room, self._windows.is_open, self._lineup.wait_reason
            )
            if chosen is None:
                return False
            job = self._ledger.job(chosen.id)
            assert job is not None
            before = self._lineup.gpus_before(job) if chosen.gpus else ()
            given = self._pool.choose(chosen.gpus, before)
            if self._attempts.start(job, given if self._pool.count else None):
                self._last_start = now
                return True
            self._lineup.follow()
        return True


def _count_jobs(count: int) -> str:
    return "1 job that is" if count == 1 else f"{count} jobs that are"
