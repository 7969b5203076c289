"""Report to systemd after each tick that the daemon is alive, and its status in one line."""

from collections.abc import Callable, Sequence

from rekindle.daemon.background import Repeated
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.log import Dropped
from rekindle.daemon.service.part import Part
from rekindle.daemon.service.sd_notify import Lifeline
from rekindle.daemon.service.shutdown import Shutdown
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import ACTIVE, WAITS, JobState


class ThreadWatch(Part):
    """Report the errors of background threads, and start one again that has ended."""

    name = "threads"

    def __init__(self, threads: Sequence[Repeated], ledger: Ledger, isolation: Isolation) -> None:
        self._threads = threads
        self._ledger = ledger
        self._isolation = isolation

    def tick(self, now: float) -> None:
        for thread in self._threads:
            with self._isolation.of(thread.name):
                self._look_at(thread)

    def _look_at(self, thread: Repeated) -> None:
        thread.ensure()
        error = thread.error
        if error is None:
            return
        text = f"{type(error).__name__}: {error}"
        if thread.name not in self._isolation.troubled:
            self._ledger.add_event("thread_failed", data={"thread": thread.name, "error": text})
        raise RuntimeError(text)


class StatusReport(Part):
    """Report to systemd as the last part of a tick.

    A tick in which parts failed counts as alive: a restart would not fix a full disk.
    """

    name = "lifeline"
    serves = False

    def __init__(
        self, lifeline: Lifeline, ledger: Ledger, shutdown: Shutdown, isolation: Isolation
    ) -> None:
        self._lifeline = lifeline
        self._ledger = ledger
        self._shutdown = shutdown
        self._isolation = isolation

    def tick(self, now: float) -> None:
        if self._shutdown.waits(now):
            self._lifeline.more_time(now)
        self._lifeline.tick_was_good(now, self._isolation.run("status", self._line) or "")

    def _line(self) -> str:
        """Compose the line for `systemctl status`."""
        running, queued, held = (
            self._ledger.count(states=states) for states in (ACTIVE, WAITS, {JobState.HELD})
        )
        line = f"{running} running, {queued} queued or waiting, {held} held"
        troubled = self._isolation.troubled
        trouble = f"; trouble with: {', '.join(troubled)}" if troubled else ""
        return f"{'Stopping: trainers save. ' if self._shutdown.decided else ''}{line}{trouble}"


class LogWatch(Part):
    """Report in the ledger that the daemon's log cannot be written, and the end of that.

    Args:
        dropped: returns what of the log is missing now.
    """

    name = "log"

    def __init__(self, dropped: Callable[[], Dropped | None], ledger: Ledger) -> None:
        self._dropped = dropped
        self._ledger = ledger
        self._reported: Dropped | None = None

    def tick(self, now: float) -> None:
        dropped, before = self._dropped(), self._reported
        if dropped is not None and before is None:
            message = f"The daemon's log cannot be written: {dropped.reason}."
            self._ledger.add_event("log_not_written", data={"message": message})
        elif dropped is None and before is not None:
            message = f"The daemon's log can be written again; {before.lines} lines are missing."
            self._ledger.add_event("log_written_again", data={"message": message})
        self._reported = dropped
