"""Watch running attempts: read what they write, end what is to end, settle what has ended."""

import contextlib
import time
from typing import Final

from rekindle.daemon import errors
from rekindle.daemon.attempts import orphans
from rekindle.daemon.attempts.context import Context
from rekindle.daemon.attempts.journal_reader import JournalReader
from rekindle.daemon.attempts.settle import Settle
from rekindle.daemon.attempts.start import Start
from rekindle.daemon.attempts.stop import Stop
from rekindle.daemon.isolation import Isolation
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE
from rekindle.state.paths import Run

_BUDGET_S: Final = 1.0
"""What one tick may spend on reading journals; the other jobs have their turn at the next."""
_CHUNK_BYTES: Final = 2**20
"""Of one journal, read in one tick."""


class Watch:
    """Look at every attempt that has not ended; a failure at one job is that job's alone."""

    def __init__(
        self, context: Context, reader: JournalReader, start: Start, stop: Stop, settle: Settle
    ) -> None:
        self._context = context
        self._reader = reader
        self._start = start
        self._stop = stop
        self._settle = settle
        self._isolation = Isolation("job", "job_in_trouble")
        self._last = ""

    def adopt(self, *, daemon_was_killed: bool = False) -> None:
        """Take over what an earlier daemon left: live attempts go on, ended ones are settled.

        Args:
            daemon_was_killed: that daemon had not ended by itself. An attempt that nothing is
                left of has then been killed together with it.
        """
        context = self._context
        for job in context.ledger.jobs(states=ACTIVE):
            with self._isolation.of(job.id):
                run = context.home.run(job.id)
                if context.lives(job, run):
                    context.log.info("attempt_adopted", job=job.id, attempt=job.attempts)
                    context.ledger.add_event("attempt_adopted", job=job.id, attempt=job.attempts)
                elif daemon_was_killed and not orphans.marked(run):
                    context.witnessed.interrupt(job.id, job.attempts)
        self.tick()

    def tick(self) -> None:
        """Look at the attempts in turn, as far as the time goes."""
        began = time.monotonic()
        jobs = self._context.ledger.jobs(states=ACTIVE)
        ids = [job.id for job in jobs]
        after = ids.index(self._last) + 1 if self._last in ids else 0
        for job in (*jobs[after:], *jobs[:after]):
            with self._isolation.of(job.id):
                self._look_at(job, self._context.home.run(job.id))
            if time.monotonic() - began > _BUDGET_S:
                self._last = job.id
                break
        self._start.wake_fetched()

    def catch_up(self, job: JobRow) -> None:
        """Read what was written into the journal of a job that has no attempt."""
        with self._isolation.of(job.id), contextlib.suppress(FileNotFoundError):
            if self._context.home.run(job.id).journal.stat().st_size > job.journal_offset:
                self._reader.read(job)

    def _look_at(self, job: JobRow, run: Run) -> None:
        context = self._context
        alive = context.lives(job, run)
        if alive and self._stop.is_wanted(job):
            self._stop.ask(job, run)
        failure: Exception | None = None
        whole = False
        try:
            # read after the probe: what a dead attempt wrote is then all there
            whole = self._reader.read(job, _CHUNK_BYTES)
        except Exception as error:
            # whatever lies in its journal's place keeps no attempt from being settled
            failure, whole = error, not errors.is_transient(error)
        if alive:
            if context.leftovers.are_alone(job, context.keeper(job)):
                context.leftovers.end(job, orphans.of(run))
        # the journal may just have named the keeper
        elif (
            whole
            and not context.lives(job, run)
            and (
                context.has_recorded_end(job) or not context.leftovers.end(job, orphans.marked(run))
            )
        ):
            self._settle.settle_or_hold(job, run)
        if failure is not None:
            raise failure
