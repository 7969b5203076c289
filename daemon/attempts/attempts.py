"""Give access to the attempts of all jobs: start, watch, stop, and settle them when they end.

Each operation stands in a file of its own; what is decided at an end is in
`rekindle.daemon.verdict`. The ledger learns of a start before anything is spawned, and of
everything else from the run directory, so that a restarted daemon comes to the same ends.
"""

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
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Home


class Attempts:
    """Start, watch and stop the attempts of one home.

    Args:
        background: carries out what may wait for a disk.
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
        """Take over what an earlier daemon left; see :meth:`Watch.adopt`."""
        self._watch.adopt(daemon_was_killed=daemon_was_killed)

    def watch(self) -> None:
        """Read what the attempts wrote, and settle those that have ended."""
        self._watch.tick()

    def catch_up(self, job: JobRow) -> None:
        """Read what was written into the journal of a job that has no attempt."""
        self._watch.catch_up(job)

    def read(self, job: JobRow) -> None:
        """Take all new journal entries of a job into the ledger."""
        self._reader.read(job)

    def stop(self, job: JobRow, stop_reason: str, message: str) -> None:
        """Ask the job's attempt to save and end; see :meth:`Stop.stop`."""
        self._stop.stop(job, stop_reason, message)

    def daemon_stops(self) -> None:
        """Ask every attempt to save and end: this daemon ends after them."""
        self._stop.daemon_stops()

    def host_leaves(self, leaves: bool) -> None:
        """Ask every attempt to save and end for as long as this host will be taken away."""
        self._stop.host_leaves(leaves)

    def all_ended(self) -> bool:
        """Tell whether no process lives that could still be ended, settled or not."""
        return self._stop.all_ended()

    def longest_end(self) -> float:
        """Give the seconds in which every attempt ends, or is given up, once it was asked to."""
        return self._stop.longest_end()

    def left(self) -> list[str]:
        """Name the jobs that have processes now."""
        return self._stop.left()

    def saved(self, job: JobRow) -> Saved:
        """Say what a relaunch of the job would find, and whether its attempt would save now."""
        return Saved.of(self._ledger, job, self._home.run(job.id))

    def job_file(self, job_id: str) -> Path:
        """Say where the accepted spec of a job lies."""
        return self._home.run(job_id).job_file
