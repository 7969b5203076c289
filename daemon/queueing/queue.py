"""Run the queue: start what may run, end what may not go on, say what the others wait for.

An attempt may not go on where its window has closed, its time is used up, or the queue was freed.
"""

import time
from typing import Final

import structlog

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.queueing.lineup import Active, Lineup
from rekindle.daemon.queueing.pool import Pool
from rekindle.daemon.queueing.queue_file import QueueFile
from rekindle.daemon.queueing.scheduler import MIN_BETWEEN_STARTS_S, Room, Scheduler
from rekindle.daemon.queueing.wait_reasons import WaitReasons
from rekindle.daemon.queueing.window import Windows
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState

_MAY_STOP: Final = frozenset({JobState.STARTING, JobState.RUNNING})
_CHOICE_BUDGET_S: Final = 0.25
"""What one tick may spend on jobs that turn out not to be able to begin."""


class Queue:
    """Run the queue of one home; the tick loop owns it.

    Args:
        slots: how many jobs may run at once that need no GPU.
    """

    def __init__(
        self, ledger: Ledger, attempts: Attempts, pool: Pool, file: QueueFile, *, slots: int
    ) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._pool = pool
        self._file = file
        self._slots = slots
        self._scheduler = Scheduler()
        self._lineup = Lineup(ledger, attempts, pool, self._scheduler)
        self._windows = Windows()
        self._reasons = WaitReasons(ledger, pool, self._scheduler, self._lineup, self._windows)
        self._last_start: float | None = None
        self._log = structlog.get_logger()

    def load(self) -> None:
        """Take in every job that has not ended; call once before the first tick."""
        self._pool.refresh(())
        self._lineup.load()

    def tick(self) -> None:
        """Start, stop and explain what is to be started, stopped and explained now."""
        self._lineup.follow()
        if self._pool.refresh({uuid for one in self._lineup.active for uuid in one.gpus}):
            self._lineup.look_again()
        self._end_what_may_not_go_on()
        if self._start_next():
            self._lineup.follow()
        else:
            self._reasons.update(paused=self._file.now.paused)

    def busy(self) -> bool:
        """Tell whether there is anything that a tick must look after."""
        return self._lineup.busy

    def idle(self) -> bool:
        """Tell whether no job is left that could go on by itself.

        A job that waits for another can only go on if that one does; one that needs GPUs
        that are set aside, or a queue that is paused, waits for a person.
        """
        self._lineup.follow()
        if self._lineup.active:
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

    # what a person asks of the whole queue

    def pause(self, *, free: bool) -> str:
        """Start nothing new from now on; with ``free`` also save and end what runs."""
        now = self._file.now
        if now.paused and (now.free or not free):
            return "The queue is paused already."
        self._file.decide(paused=True, free=free, since=now.since or time.time())
        self._ledger.add_event("queue_paused", data={"free": free})
        active = self._lineup.active
        if not active:
            return "The queue is paused: nothing new is started."
        if not free:
            return (
                "The queue is paused: nothing new is started; "
                f"{_count_jobs(len(active))} running go on to their end."
            )
        saved = [self._attempts.saved(one.row) for one in active]
        lose = sum(not (one.saves or one.checkpoint) for one in saved)
        who = f"{_count_jobs(len(active))} running"
        answer = f"The queue is paused; {who} save and go back to the queue."
        if lose:
            answer += f" Of {lose} nothing is saved so far: `rekindle ls` says of which."
        return answer

    def resume(self) -> str:
        """Resume a paused queue."""
        if not self._file.now.paused:
            return "The queue is not paused."
        self._file.decide(paused=False, free=False, since=None)
        self._ledger.add_event("queue_resumed")
        return "The queue is resumed."

    def take_back(self, named: str) -> str:
        """Use a GPU again that was set aside, in spite of the faults it has now."""
        gpu = self._pool.find(named)
        if gpu is None:
            return f"There is no GPU {named}."
        if not gpu.faults:
            return f"GPU {gpu.label} is not set aside."
        self._pool.accept(gpu)
        self._ledger.add_event("gpu_taken_back", data={"gpu": gpu.uuid, "faults": [*gpu.faults]})
        return f"GPU {gpu.label} is used again, in spite of: {'; '.join(gpu.faults)}."

    # what a tick does

    def _end_what_may_not_go_on(self) -> None:
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        for one in self._lineup.active:
            if one.row.state not in _MAY_STOP:
                continue
            window, most = one.wants.window, one.wants.max_runtime
            if self._file.now.free:
                self._end(one, "pause", "The queue is paused.", "gives its place back")
            elif window is not None and not self._windows.is_open(window):
                self._end(one, "window", f"Its window {window} has closed.", "gives its place back")
            elif most is not None and one.has_run(boot) > most:
                self._end(one, "runtime", "Its `max_runtime` is over.", "is then held")

    def _end(self, one: Active, stop_reason: str, why: str, then: str) -> None:
        what = self._attempts.saved(one.row).when_asked(then)
        self._attempts.stop(one.row, stop_reason, f"{why} {what}")
        self._log.info("attempt_asked_to_end", job=one.row.id, wish=stop_reason)
        self._lineup.follow()

    def _start_next(self) -> bool:
        """Start a job; False where none may be started, however long one waits."""
        if self._file.now.paused:
            return False
        now = time.monotonic()
        if self._last_start is not None and now - self._last_start < MIN_BETWEEN_STARTS_S:
            return True
        # those that cannot begin now are passed over: the ones behind them have their turn
        while time.monotonic() < now + _CHOICE_BUDGET_S:
            stock = self._pool.stock
            used = sum(not one.gpus for one in self._lineup.active)
            room = Room(max(self._slots - used, 0), len(stock.allocatable), stock.reclaimable)
            chosen = self._scheduler.choose(now, room, self._windows.is_open)
            if chosen is None:
                return False
            job = self._ledger.job(chosen.id)
            assert job is not None
            given = stock.allocatable[: chosen.gpus]
            if self._attempts.start(job, given if self._pool.count else None):
                self._last_start = now
                return True
            self._lineup.follow()
        return True


def _count_jobs(count: int) -> str:
    return "one job that is" if count == 1 else f"{count} jobs that are"
