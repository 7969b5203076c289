"""End the trainer, and whatever it leaves behind."""

import os
import signal
import time

from rekindle.jobs import process
from rekindle.jobs.journal_writer import say
from rekindle.jobs.keeper.cause import End

_LEFTOVERS_S = 10.0


class Termination:
    """Ask one trainer to end, kill it once its grace period is over, and remember why.

    Attributes:
        pid: of the trainer, which leads a process group.
        stop_requested: the keeper was told to end the attempt.
        over_memory: it was killed for its memory.
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
        """Tell whether the trainer was asked to end, or was killed after its grace period."""
        return self._killed or self._hung or self.stop_requested

    def stop(self) -> None:
        """End it since the keeper was told to; a second time changes nothing."""
        if not self.stop_requested:
            self.stop_requested = True
            self._ask()

    def end_hung(self) -> None:
        """End it since it does not move."""
        self._hung = True
        self._ask()

    def kill_for_memory(self) -> None:
        """Kill it since it is above its limit."""
        self.over_memory = True
        os.killpg(self.pid, signal.SIGKILL)

    def enforce(self, now: float) -> bool:
        """Kill it where its grace period is over; True where it was."""
        if self._deadline is None or now < self._deadline:
            return False
        say("the grace period is over; the trainer is killed.")
        self._killed = True
        self._deadline = None
        os.killpg(self.pid, signal.SIGKILL)
        return True

    def before(self, moment: float) -> float:
        """Give the end of the grace period where it comes before ``moment``, else that."""
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
        # a process that somebody stopped saves only once it is awake
        os.killpg(self.pid, signal.SIGCONT)


def reap(trainer: int) -> int | None:
    """Reap all that has ended; the trainer's status as Popen gives it, once it is among these."""
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
    """Kill what the trainer started and left: data workers, TensorBoard, shells."""
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
