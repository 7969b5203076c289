"""Provide one interface to the attempts of all jobs: start, watch, stop and settle them.

Each operation has a file of its own; `rekindle.daemon.verdict` holds the decisions. The ledger
records a start before anything is spawned, and everything else from the run directory, so that
a restarted daemon reaches the same verdicts.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from rekindle.daemon.attempts.context import Context
from rekindle.daemon.attempts.escalation import Escalation
from rekindle.daemon.attempts.journal_reader import JournalReader
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.attempts.orphans import Leftovers
from rekindle.daemon.attempts.settle import Settle
from rekindle.daemon.attempts.start import Start
from rekindle.daemon.attempts.stop import Stop
from rekindle.daemon.attempts.watch import Watch
from rekindle.daemon.background import Background
from rekindle.daemon.verdict.saved import Saved
from rekindle.jobs import process
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Home
from rekindle.state.run import running_time


class Attempts:
    """Start, watch and stop the attempts of one home.

    Args:
        background: runs work that may block on a disk.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        launcher: Launcher,
        *,
        background: Background | None = None,
    ) -> None:
        context = Context(
            home,
            ledger,
            launcher,
            background or Background(),
            Escalation(ledger, launcher),
            Leftovers(ledger),
        )
        self._home = home
        self._ledger = ledger
        self._reader = JournalReader(context)
        self._start = Start(context)
        self._stop = Stop(context)
        settle = Settle(context, self._stop)
        self._watch = Watch(context, self._reader, self._start, self._stop, settle)

    def start(self, job: JobRow, gpus: Sequence[str] | None = None) -> bool:
        """Start the next attempt of a job; see :meth:`Start.start`."""
        return self._start.start(job, gpus)

    def adopt(self, *, daemon_was_killed: bool = False) -> None:
        """Adopt the attempts of an earlier daemon; see :meth:`Watch.adopt`."""
        self._watch.adopt(daemon_was_killed=daemon_was_killed)

    def watch(self) -> None:
        """Read the journals of the attempts, and settle those that have ended."""
        self._watch.tick()

    @property
    def is_behind(self) -> bool:
        """Return whether the last tick had no time for all attempts and their journals."""
        return self._watch.is_behind

    def catch_up(self, job: JobRow) -> None:
        """Ingest new journal entries of a job that has no attempt."""
        self._watch.catch_up(job)

    def read(self, job: JobRow) -> None:
        """Ingest all new journal entries of a job into the ledger."""
        self._reader.read(job)

    def stop(self, job: JobRow, stop_reason: str, message: str, asked_by: str = "") -> None:
        """Ask the job's attempt to save and end; see :meth:`Stop.stop`."""
        self._stop.stop(job, stop_reason, message, asked_by)

    def resume_after_stop(self, job: JobRow, message: str, asked_by: str = "") -> None:
        """Queue a stopping job once its attempt has ended, whatever was asked before."""
        self._stop.stop(job, "release", message, asked_by)

    def stop_all(self) -> None:
        """Ask every attempt to save and end: this daemon ends after them."""
        self._stop.stop_all()

    def set_preempted(self, preempted: bool) -> None:
        """Ask every attempt to save and end while a notice says that the host is preempted."""
        self._stop.set_preempted(preempted)

    def all_ended(self) -> bool:
        """Return whether no process is alive that could still be ended, settled or not."""
        return self._stop.all_ended()

    def longest_end(self) -> float:
        """Return the seconds after which every attempt has ended or is given up."""
        return self._stop.longest_end()

    def live_jobs(self) -> list[str]:
        """List the jobs that have processes now."""
        return self._stop.live_jobs()

    def running_time(self, job: JobRow) -> float:
        """Return the seconds that the job's attempt has run."""
        found = running_time.read(self._home.run(job.id).running_time, job.attempts)
        if found is not None:
            return found
        row = self._ledger.attempt(job.id, job.attempts)
        if row is None or row.keeper_start is None or row.boot_id != process.boot_id():
            return 0.0
        # a keeper of an older version publishes nothing
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        return max(boot - row.keeper_start / os.sysconf("SC_CLK_TCK"), 0.0)

    def saved(self, job: JobRow) -> Saved:
        """Describe what a relaunch of the job would find, and whether its attempt can save now."""
        return Saved.of(self._ledger, job, self._home.run(job.id))

    def job_file(self, job_id: str) -> Path:
        """Return the path of a job's accepted spec."""
        return self._home.run(job_id).job_file
