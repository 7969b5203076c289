"""The queue: keeps the scheduler's picture in step with the ledger, and acts on it.

It looks only at jobs that have changed. It starts what may run, asks what may not go on
to save and end (a window has closed, a time is used up, the queue was freed), and says of
each job that waits what it waits for; the ledger is written only when that changes.
"""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.queueing import dependencies, window
from rekindle.daemon.queueing.dependencies import Need
from rekindle.daemon.queueing.pool import Pool
from rekindle.daemon.queueing.queue_file import QueueFile
from rekindle.daemon.queueing.scheduler import (
    MIN_BETWEEN_STARTS_S,
    Candidate,
    Lane,
    Room,
    Scheduler,
)
from rekindle.jobs import process
from rekindle.jobs.job import Job
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, JobState

_WAITS: Final = frozenset({JobState.QUEUED, JobState.WAITING})
_MAY_STOP: Final = frozenset({JobState.STARTING, JobState.RUNNING})
_NOT_WORTH_A_START_S: Final = 2.0
"""An attempt that may run no longer than this would only just have imported its libraries."""
_CHOICE_BUDGET_S: Final = 0.25
"""What one tick may spend on jobs that turn out not to be able to begin."""
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Wants:
    """What a spec says to the queue."""

    gpus: int | None
    window: str | None
    max_runtime: float | None
    after: tuple[str, ...]


@dataclass(slots=True)
class _Active:
    """A job that has an attempt.

    Attributes:
        began: start of the attempt on the clock that no one can set, seconds since boot.
        before: seconds that earlier attempts ran.
    """

    row: JobRow
    wants: Wants
    gpus: tuple[str, ...]
    began: float
    before: float


class Queue:
    """The queue of one home; the tick loop owns it.

    Args:
        slots: how many jobs may run at once that need no GPU.
    """

    def __init__(
        self, ledger: Ledger, attempts: Attempts, pool: Pool, file: QueueFile, *, slots: int
    ) -> None:
        self._file = file
        self._ledger = ledger
        self._attempts = attempts
        self._pool = pool
        self._slots = slots
        self._scheduler = Scheduler()
        self._dirty: set[str] = set()
        self._active: dict[str, _Active] = {}
        self._blocked: set[str] = set()
        self._wants: dict[str, Wants] = {}
        self._dependents: dict[str, set[str]] = {}  # by id, or by name while there is no such job
        self._registered: dict[str, set[str]] = {}
        self._circles = dependencies.Circles(self._may_wait_for)
        self._looks: dict[str, tuple[float, window.Look]] = {}
        self._told: dict[Lane, tuple[str, str]] = {}
        self._last_start: float | None = None
        self._log = structlog.get_logger()

    def load(self) -> None:
        """Takes in every job that has not ended; call once before the first tick."""
        jobs = self._ledger.jobs(states={*_WAITS, *ACTIVE})
        self._pool.refresh(())
        for job in jobs:
            self._look_apart(job.id)

    def tick(self) -> None:
        """Starts, stops and explains what is to be started, stopped and explained now."""
        self._follow()
        if self._pool.refresh({uuid for one in self._active.values() for uuid in one.gpus}):
            # the box has other GPUs than a moment ago: what each job needs is asked anew
            for job_id in [*self._scheduler]:
                self._look_apart(job_id)
        self._end_what_may_not_go_on()
        if self._start_next():
            self._follow()
        else:
            self._say_what_is_waited_for()

    def busy(self) -> bool:
        """Whether there is anything that a tick must look after."""
        return bool(self._active or self._blocked or len(self._scheduler))

    def idle(self) -> bool:
        """Whether no job is left that could go on by itself.

        A job that waits for another can only go on if that one does; one that needs GPUs
        that are set aside, or a queue that is paused, waits for a person.
        """
        self._follow()
        if self._active:
            return False
        if self._file.now.paused:
            return True
        if self._scheduler.timed() or self._scheduler.has_fresh:
            return False
        pool = self._pool
        return all(
            pool.stock.reach < lane.gpus <= pool.count and not pool.may_come_back
            for lane, _ in self._scheduler.lanes()
        )

    # what is asked about the whole queue

    def pause(self, *, free: bool) -> str:
        """Starts nothing new from now on; with ``free`` also saves and ends what runs."""
        now = self._file.now
        if now.paused and (now.free or not free):
            return "The queue is paused already."
        self._file.decide(paused=True, free=free, since=now.since or time.time())
        self._ledger.add_event("queue_paused", data={"free": free})
        running = len(self._active)
        if free and running:
            saved = [self._attempts.saved(one.row) for one in self._active.values()]
            lose = sum(not (one.saves or one.checkpoint) for one in saved)
            return (
                f"The queue is paused; {_jobs(running)} running save and go back to the queue."
                + (
                    f" Of {lose} nothing is saved so far: `rekindle ls` says of which."
                    if lose
                    else ""
                )
            )
        return "The queue is paused: nothing new is started" + (
            f"; {_jobs(running)} running go on to their end." if running else "."
        )

    def resume(self) -> str:
        """Lets a paused queue go on."""
        if not self._file.now.paused:
            return "The queue is not paused."
        self._file.decide(paused=False, free=False, since=None)
        self._ledger.add_event("queue_resumed")
        return "The queue goes on."

    def take_back(self, named: str) -> str:
        """Uses a GPU again that was set aside, in spite of the faults it has now."""
        gpu = self._pool.find(named)
        if gpu is None:
            return f"There is no GPU {named}."
        if not gpu.faults:
            return f"GPU {gpu.label} is not set aside."
        self._pool.accept(gpu)
        self._ledger.add_event("gpu_taken_back", data={"gpu": gpu.uuid, "faults": [*gpu.faults]})
        return f"GPU {gpu.label} is used again, in spite of: {'; '.join(gpu.faults)}."

    # following the ledger

    def _follow(self) -> None:
        self._dirty |= self._ledger.take_changed()
        while self._dirty:
            for job_id in sorted(self._dirty):
                self._look_apart(job_id)
                # only now: what fails here (a full disk) is done again at the next tick
                self._dirty.discard(job_id)
            self._dirty |= self._ledger.take_changed()

    def _look_apart(self, job_id: str) -> None:
        """Look at a job; one that cannot be understood is held, and the others have their turn."""
        try:
            self._look_at(job_id)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._hold_not_understood(job_id, error)

    def _hold_not_understood(self, job_id: str, error: Exception) -> None:
        job = self._ledger.job(job_id)
        if job is None or job.state not in _WAITS:
            # an attempt that runs is settled at its end
            self._log.error("job_not_understood", job=job_id, exc_info=error)
            return
        what, hint = errors.describe(error)
        file = self._attempts.job_file(job_id)
        self._hold(
            job_id,
            f"Its {file.name} cannot be used: {what}",
            f"{file}: {hint} Then `rekindle release {job_id}`.",
        )

    def _look_at(self, job_id: str) -> None:
        job = self._ledger.job(job_id)
        left = self._active.pop(job_id, None)
        self._scheduler.remove(job_id)
        self._blocked.discard(job_id)
        if left is not None and (job is None or job.state not in ACTIVE):
            self._pool.give_back(left.gpus)
        if job is None:
            return
        # the spec may have been changed by a person
        self._wants.pop(job_id, None)
        self._register(job_id, set())
        if job.attempts:
            self._circles.drop(job_id)
        if job.state in ACTIVE:
            self._active[job_id] = self._make_active(job, left)
        elif job.state in _WAITS:
            self._consider(job)
        for named in (job.id, job.name):
            for other in [*self._dependents.get(named, ())]:
                self._look_again_at(other)

    def _look_again_at(self, job_id: str) -> None:
        if job_id in self._blocked or job_id in self._scheduler:
            job = self._ledger.job(job_id)
            if job is not None and job.state in _WAITS:
                self._consider(job)

    def _make_active(self, job: JobRow, known: _Active | None) -> _Active:
        try:
            wants = self._wants_of(job)
        except SpecError:
            # it runs, whatever its spec says now; its end is judged by `job.json`
            wants = Wants(None, None, None, ())
        row = self._ledger.attempt(job.id, job.attempts)
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        if known is not None and known.row.attempts == job.attempts:
            began = known.began
        if row is not None and row.keeper_start is not None and row.boot_id == process.boot_id():
            began = row.keeper_start / _TICKS_S
        before = self._ledger.runtime(job.id) if wants.max_runtime is not None else 0.0
        return _Active(job, wants, tuple((row.gpus if row else None) or ()), began, before)

    def _consider(self, job: JobRow) -> None:
        """Where a job that wants to run stands: blocked, held, or in the scheduler's order."""
        wants = self._wants_of(job)
        self._scheduler.remove(job.id)
        self._blocked.discard(job.id)
        if (
            wants.max_runtime is not None
            and self._ledger.runtime(job.id) >= wants.max_runtime - _NOT_WORTH_A_START_S
        ):
            self._hold(
                job.id,
                "It has run as long as its `max_runtime` allows; "
                f"{self._attempts.saved(job).kept}.",
                f"`rekindle release {job.id} --max-runtime 12h` gives it more.",
            )
            return
        # what has begun has had what it waited for
        if wants.after and job.attempts == 0 and not self._has_what_it_waits_for(job, wants):
            return
        self._scheduler.put(
            Candidate(
                job.id,
                job.priority,
                (job.submitted_at, job.rowid),
                self._pool.gpus_for(wants.gpus),
                wants.window,
                _not_before(job),
            )
        )

    def _has_what_it_waits_for(self, job: JobRow, wants: Wants) -> bool:
        needs = self._needs(job, wants)
        # not by a name that means a job already: all of a series would be looked at each time
        self._register(job.id, {need.id or need.named for need in needs})
        answer = dependencies.judge(job.id, needs)
        if not answer.reason:
            return True
        if answer.broken:
            self._hold(job.id, answer.reason, answer.hint)
            return False
        way = dependencies.cycle(job.id, self._waits_for) if self._circles.hold(job.id) else []
        if way:
            self._hold(
                job.id,
                f"It waits for itself: {' waits for '.join(way)}.",
                "Cancel one of them, and mend its `after`.",
            )
            return False
        self._blocked.add(job.id)
        self._ledger.set_waiting([job.id], answer.reason, hint=answer.hint, now=time.time())
        return False

    def _register(self, job_id: str, under: set[str]) -> None:
        """Notes at whose changes a job is to be looked at again, in place of what was noted."""
        for other in self._registered.pop(job_id, ()):
            self._dependents[other].discard(job_id)
            if not self._dependents[other]:
                del self._dependents[other]
        if under:
            self._registered[job_id] = under
        for other in under:
            self._dependents.setdefault(other, set()).add(job_id)

    def _needs(self, job: JobRow, wants: Wants) -> list[Need]:
        needs = []
        for named in wants.after:
            found = self._ledger.named_for(job, named)
            if found is not None:
                needs.append(Need(named, found.id, found.state))
            elif named != job.name:  # the first of a series has none before it
                needs.append(Need(named))
        return needs

    def _waits_for(self, job_id: str) -> list[str]:
        """The ids of the jobs that one waits for, where it has not begun yet."""
        job = self._ledger.job(job_id)
        if job is None or job.attempts or job.state not in _WAITS:
            return []
        try:
            wants = self._wants_of(job)
        except SpecError:
            return []
        return [
            need.id
            for need in self._needs(job, wants)
            if need.id is not None and need.state != JobState.DONE
        ]

    def _may_wait_for(self, job_id: str) -> list[str]:
        """The ids of the jobs that one that has not begun waits for, or would if it were queued."""
        job = self._ledger.job(job_id)
        if job is None or job.attempts:
            return []
        try:
            after = self._wants_of(job).after
        except SpecError:
            return []  # another job's look at it; it is held by its own
        found = [self._ledger.named_for(job, named) for named in after]
        return [one.id for one in found if one is not None and not one.attempts]

    def _wants_of(self, job: JobRow) -> Wants:
        known = self._wants.get(job.id)
        if known is None:
            accepted = Job.from_json(self._ledger.spec_text(job.id))
            known = Wants(
                accepted.resources.gpus,
                accepted.limits.window,
                accepted.limits.max_runtime,
                tuple(accepted.after),
            )
            self._wants[job.id] = known
        return known

    def _hold(self, job_id: str, reason: str, hint: str) -> None:
        self._ledger.set_state(job_id, JobState.HELD, reason, hint=hint, now=time.time())
        self._log.warning("job_held", job=job_id, reason=reason)

    # acting

    def _end_what_may_not_go_on(self) -> None:
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        for one in [*self._active.values()]:
            if one.row.state not in _MAY_STOP:
                continue
            wants = one.wants
            if self._file.now.free:
                self._end(one, "pause", "The queue is paused.", "gives its place back")
            elif wants.window is not None and not self._is_open(wants.window):
                self._end(
                    one, "window", f"Its window {wants.window} has closed.", "gives its place back"
                )
            elif (
                wants.max_runtime is not None and one.before + boot - one.began > wants.max_runtime
            ):
                self._end(one, "runtime", "Its `max_runtime` is over.", "is then held")

    def _end(self, one: _Active, wish: str, why: str, then: str) -> None:
        what = self._attempts.saved(one.row).when_asked(then)
        self._attempts.stop(one.row, wish, f"{why} {what}")
        self._log.info("attempt_asked_to_end", job=one.row.id, wish=wish)
        self._follow()

    def _start_next(self) -> bool:
        """Starts a job; False where none may be started, however long one waits."""
        if self._file.now.paused:
            return False
        now = time.monotonic()
        if self._last_start is not None and now - self._last_start < MIN_BETWEEN_STARTS_S:
            return True
        # those that cannot begin now are passed over: the ones behind them have their turn
        while time.monotonic() < now + _CHOICE_BUDGET_S:
            stock = self._pool.stock
            used = sum(not one.gpus for one in self._active.values())
            room = Room(max(self._slots - used, 0), len(stock.ready), stock.reach)
            chosen = self._scheduler.choose(now, room, self._is_open)
            if chosen is None:
                return False
            job = self._ledger.job(chosen.id)
            assert job is not None
            given = stock.ready[: chosen.gpus]
            if self._attempts.start(job, given if self._pool.count else None):
                self._last_start = now
                return True
            self._follow()
        return True

    def _say_what_is_waited_for(self) -> None:
        before, self._told = self._told, {}  # nothing is known as told where this fails
        told: dict[Lane, tuple[str, str]] = {}
        fresh = self._scheduler.take_fresh()
        for lane, ids in [(lane, set(ids)) for lane, ids in self._scheduler.lanes()]:
            if lane.gpus > self._pool.count and self._pool.known:
                for job_id in ids:
                    self._hold(
                        job_id,
                        f"It asks for {_gpus(lane.gpus)}, and this box has "
                        f"{self._pool.count or 'none'}.",
                        "Ask for fewer, or submit it on another box.",
                    )
                continue
            words = self._words(lane)
            concerned: Collection[str] = ids if before.get(lane) != words else ids & fresh
            if concerned:
                self._ledger.set_waiting(concerned, words[0], hint=words[1], now=time.time())
                self._log.info("jobs_wait", jobs=len(concerned), reason=words[0])
            told[lane] = words
        self._told = told
        # what was written here is known here
        self._follow()

    def _words(self, lane: Lane) -> tuple[str, str]:
        """What the jobs of a lane wait for, and what could be done about it."""
        if self._file.now.paused:
            return "The queue is paused.", "`rekindle resume` lets it go on."
        if lane.window is not None and not self._is_open(lane.window):
            return f"It waits until {lane.window[:5]}, when its window {lane.window} opens.", ""
        if not lane.gpus:
            return "It waits for a CPU slot.", ""
        reason = f"It waits for {_gpus(lane.gpus)}"
        if lane.gpus > self._pool.stock.reach:
            why = [*([self._pool.trouble] if self._pool.trouble else []), *self._pool.stock.away]
            return (
                f"{reason}: {'; '.join(why)}." if why else f"{reason}.",
                "`gpus = 0` in its spec would let it run without."
                if self._pool.trouble
                else "`rekindle resume --gpu N` uses one again that was set aside."
                if any("set aside" in text for text in why)
                else "",
            )
        return f"{reason}.", ""

    def _is_open(self, text: str) -> bool:
        now = time.time()
        known = self._looks.get(text)
        # a clock that was set back is looked at anew
        if known is None or not known[0] <= now < known[1].until:
            known = self._looks[text] = (now, window.look(text, now))
        return known[1].open


def _not_before(job: JobRow) -> float | None:
    """The end of a wait on the clock that nobody can set."""
    return None if job.next_at is None else time.monotonic() + job.next_at - time.time()


def _gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"


def _jobs(count: int) -> str:
    return "one job that is" if count == 1 else f"{count} jobs that are"
