"""End the trainer and the processes that it leaves behind."""

import os
import signal
import time

from rekindle.jobs import process
from rekindle.jobs.journal_writer import print_line
from rekindle.jobs.keeper.cause import End

_LEFTOVERS_S = 10.0


class Termination:
    """Ask one trainer to end, kill it after its grace period, and remember why.

    Attributes:
        pid: of the trainer, which leads a process group.
        stop_requested: the keeper was asked to end the attempt.
        over_memory: the trainer was killed for exceeding its memory limit.
    """

    def __init__(self, pid: int, grace: float) -> None:
        self.pid = pid
        self.stop_requested = False
        self._grace = grace
        self._deadline: float | None = None
        self._killed = False
        self._hung = False
        self.over_memory = False

    @property
    def has_begun(self) -> bool:
        """True if the trainer was asked to end, or was killed after its grace period."""
        return self._killed or self._hung or self.stop_requested

    def stop(self) -> None:
        """End the trainer on request; a second call changes nothing."""
        if not self.stop_requested:
            self.stop_requested = True
            self._ask()

    def end_hung(self) -> None:
        """End the trainer because it hangs."""
        self._hung = True
        self._ask()

    def kill_for_memory(self) -> None:
        """Kill the trainer because it exceeds its memory limit."""
        self.over_memory = True
        os.killpg(self.pid, signal.SIGKILL)

    def enforce(self, now: float) -> bool:
        """Kill the trainer if its grace period is over; return True if it was."""
        if self._deadline is None or now < self._deadline:
            return False
        print_line("the grace period is over; killing the trainer.")
        self._killed = True
        self._deadline = None
        os.killpg(self.pid, signal.SIGKILL)
        return True

    def before(self, moment: float) -> float:
        """Return the earlier one of ``moment`` and the end of the grace period."""
        return moment if self._deadline is None else min(moment, self._deadline)

    def end(self, status: int, killer: str | None) -> End:
        """Describe the end of the trainer.

        Args:
            status: as Popen gives it.
            killer: as `MemoryLimit.killed` gives it.
        """
        return End(
            status,
            stop_requested=self.stop_requested,
            killed_after_grace=self._killed,
            hung=self._hung,
            over_memory=self.over_memory,
            killer=killer,
        )

    def _ask(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace
        os.kill(self.pid, signal.SIGTERM)
        # a stopped process cannot save before it continues
        os.killpg(self.pid, signal.SIGCONT)


def reap(trainer: int) -> int | None:
    """Reap all ended children; return the trainer's status (as Popen gives it) if it ended."""
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid == trainer:
            ended = os.waitstatus_to_exitcode(status)


def end_leftovers(trainer: int) -> None:
    """Kill processes that the trainer left behind: data workers, TensorBoard, shells."""
    try:
        os.killpg(trainer, signal.SIGKILL)
    except ProcessLookupError:
        pass
    end = time.monotonic() + _LEFTOVERS_S
    while (left := process.children(os.getpid())) and time.monotonic() < end:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap(trainer)
        time.sleep(0.01)
