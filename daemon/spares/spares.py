"""Decide which running jobs get a warm spare, and when it is dropped."""

import time
from typing import Final

import structlog

from rekindle.daemon.spares.standbys import Standbys
from rekindle.jobs import heartbeat, memory, process
from rekindle.jobs.job import Job
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import AttemptRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

FROM_ATTEMPT: Final = 2
"""Most jobs are never interrupted: the first attempt has no spare."""
_EVERY_S: Final = 1.0
_STEADY_S: Final = 3.0
"""Seconds of steps before the import of a spare takes a processor from the training."""
_LEFT_BYTES: Final = 2 * 2**30
"""Memory that must be free beside a spare, which has 264 MB of its own with TensorFlow."""
_SPARE_BYTES: Final = 300 * 2**20
"""Memory of a spare within the job's own limit (`resources.memory`)."""
_TRAINS: Final = frozenset({"step", "validation"})
_KEPT_IN: Final = frozenset(
    {JobState.STARTING, JobState.RUNNING, JobState.QUEUED, JobState.WAITING}
)
_WAIT_S: Final = 60.0
"""Time without an attempt after which a spare is dropped."""


class Spares:
    """Look at the running jobs once a second.

    Args:
        wanted: `[daemon] warm_spares`.
    """

    def __init__(self, home: Home, ledger: Ledger, standbys: Standbys, *, wanted: bool) -> None:
        self._home = home
        self._ledger = ledger
        self._standbys = standbys
        self._wanted = wanted
        self._next = self._start_at = 0.0
        self._steps: dict[str, tuple[int, float]] = {}
        self._tried: dict[str, int] = {}
        self._runs_until: dict[str, float] = {}
        self._log = structlog.get_logger()

    def tick(self) -> None:
        """Start the spares that are due, and drop those that are not needed."""
        now = time.monotonic()
        if not self._wanted or now < self._next:
            return
        self._next = now + _EVERY_S
        for name, why in self._standbys.look().items():
            self._log.info("spare_waits" if why is None else "no_spare", job=name, reason=why)
        left = memory.free()
        scarce = left is not None and left < _LEFT_BYTES
        running = {job.id: job for job in self._ledger.jobs(states=[JobState.RUNNING])}
        self._drop(set(running), scarce, now)
        for job in running.values():
            tried = self._tried.get(job.id) == job.attempts
            wait = scarce or now < self._start_at
            if job.attempts < FROM_ATTEMPT or tried or wait or job.wish is not None:
                continue
            if self._trains_steadily(job.id, job.attempts, now):
                self._tried[job.id] = job.attempts
                row = self._ledger.attempt(job.id, job.attempts)
                if row is not None and self._fits(row):
                    self._standbys.start(self._home.run(job.id), job.attempts + 1, row.gpus)
                    # one at a time, so that free memory counts it before the next
                    self._start_at = now + _STEADY_S

    def _fits(self, row: AttemptRow) -> bool:
        """Return whether the job's own limit leaves memory for a spare."""
        try:
            limit = Job.read(self._home.run(row.job).job_file).resources.memory
        except (OSError, SpecError):
            return False
        if limit is None or row.keeper_pid is None:
            return True
        return memory.used(process.descendants(row.keeper_pid)) + _SPARE_BYTES <= limit

    def _drop(self, running: set[str], scarce: bool, now: float) -> None:
        for job_id, attempt in self._standbys.jobs().items():
            if job_id in running:
                self._runs_until[job_id] = now
            job = self._ledger.job(job_id)
            if (
                scarce
                or job is None
                or job.state not in _KEPT_IN
                or job.attempts >= attempt
                or now - self._runs_until.get(job_id, now) > _WAIT_S
            ):
                self._log.info("spare_dropped", job=job_id)
                self._standbys.drop(job_id)
        kept = running | self._standbys.jobs().keys()
        for gone in (self._tried.keys() | self._runs_until.keys() | self._steps.keys()) - kept:
            self._tried.pop(gone, None)
            self._runs_until.pop(gone, None)
            self._steps.pop(gone, None)

    def _trains_steadily(self, job_id: str, attempt: int, now: float) -> bool:
        beat = heartbeat.read(self._home.run(job_id).heartbeat)
        if beat is None or beat.attempt != attempt or beat.section not in _TRAINS:
            self._steps.pop(job_id, None)
            return False
        number, since = self._steps.setdefault(job_id, (attempt, now))
        if number != attempt:
            self._steps[job_id] = attempt, now
            return False
        return now - since >= _STEADY_S
