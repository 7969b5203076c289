"""Watch running attempts: read their journals, end those that must end, settle ended ones."""

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

_BUDGET_S: Final = 0.05
"""Time for reading journals in one tick; the next tick continues with the other jobs."""
_CHUNK_BYTES: Final = 32 * 2**10
"""Bytes of one journal that are read in one transaction."""


class Watch:
    """Look at every attempt that has not ended; a failure of one job affects no other."""

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
        self._until = 0.0
        self._is_behind = False

    def adopt(self, *, daemon_was_killed: bool = False) -> None:
        """Adopt the attempts of an earlier daemon: keep live ones, settle ended ones.

        Args:
            daemon_was_killed: the earlier daemon did not end by itself. An attempt without live
                processes was then killed together with it.
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
        """Look at the attempts in turn until the time of a tick is used up."""
        self._until = time.monotonic() + _BUDGET_S
        self._is_behind = False
        jobs = self._context.ledger.jobs(states=ACTIVE)
        ids = [job.id for job in jobs]
        after = ids.index(self._last) + 1 if self._last in ids else 0
        for job in (*jobs[after:], *jobs[:after]):
            with self._isolation.of(job.id):
                self._look_at(job, self._context.home.run(job.id))
            if time.monotonic() > self._until:
                self._last = job.id
                self._is_behind = True
                break
        self._start.wake_fetched()

    def catch_up(self, job: JobRow) -> None:
        """Ingest new journal entries of a job that has no attempt."""
        with self._isolation.of(job.id), contextlib.suppress(FileNotFoundError):
            if self._context.home.run(job.id).journal.stat().st_size > job.journal_offset:
                self._reader.read(job)

    @property
    def is_behind(self) -> bool:
        """Return whether the last tick had no time for all attempts and their journals."""
        return self._is_behind

    def _read(self, job: JobRow) -> bool:
        """Read a journal in pieces while the tick has time; True if all of it was read."""
        current: JobRow | None = job
        while current is not None and not self._reader.read(current, _CHUNK_BYTES):
            if time.monotonic() > self._until:
                self._is_behind = True
                return False
            current = self._context.ledger.job(job.id)
        return True

    def _look_at(self, job: JobRow, run: Run) -> None:
        context = self._context
        alive = context.lives(job, run)
        if alive and self._stop.is_wanted(job):
            self._stop.ask(job, run)
        failure: Exception | None = None
        whole = False
        try:
            # read after the probe: the journal of a dead attempt is then complete
            whole = self._read(job)
        except Exception as error:
            # an unreadable journal must not keep its attempt from being settled
            failure, whole = error, not errors.is_transient(error)
        if alive:
            if context.leftovers.outlive_keeper(job, context.keeper(job)):
                context.leftovers.end(job, orphans.of(run))
        # probed again: the journal may just have named the keeper
        elif (
            whole
            and not context.lives(job, run)
            and (
                context.has_recorded_end(job) or not context.leftovers.end(job, orphans.marked(run))
            )
        ):
            self._reader.save_summary(job.id)
            self._settle.settle_or_hold(job, run)
        if failure is not None:
            raise failure
