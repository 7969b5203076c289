"""Hold a spare for an attempt, on the side of its keeper. Standard library only."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rekindle.jobs import environment
from rekindle.jobs.handover.channel import Channel, Closed
from rekindle.state import crash_points

if TYPE_CHECKING:
    from rekindle.jobs.keeper.memory_limit import MemoryLimit

_ANSWER_S: Final = 5.0
_COPY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Start:
    """Name all in which a spare must equal the trainer of the attempt that takes it.

    Attributes:
        script: with its arguments and the seed of the job.
        memory: the limit of the job, in bytes.
    """

    script: tuple[str | None, ...]
    argv: list[str]
    variables: dict[str, str]
    workdir: str
    umask: int | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class Held:
    """A spare that waits.

    Attributes:
        start: with what it was started.
        limit: of its memory, which is then that of the attempt.
        output: a file in memory with what it has printed.
        ends: of the socket for its checkpoints, of which it has the second.
    """

    start: Start
    process: "subprocess.Popen[bytes]"
    channel: Channel
    limit: "MemoryLimit"
    output: int
    ends: tuple[Channel, Channel]

    def take(self, start: Start, lock: tuple[int, ...]) -> str | None:
        """Let the spare become the trainer of an attempt; return why it cannot, and kill it then.

        Args:
            lock: descriptors of the run's lock.
        """
        why = self._why_not(start)
        if why is None:
            try:
                late = {name: start.variables[name] for name in environment.LATE}
                self.channel.send({"variables": late}, (1, *lock))
                crash_points.reached("spare_asked")
                answer, _ = self.channel.receive(_ANSWER_S)
                why = answer.get("unfit")
                if why is None:
                    # it runs nothing before: one that answers too late has done nothing
                    crash_points.reached("spare_taken")
                    self.channel.send({"go": True})
                    crash_points.reached("spare_told")
            except (Closed, ValueError) as closed:
                why = f"it has ended ({closed})"
        # in a cold start it would stand in the log as well
        self._copy_output()
        self.channel.close()
        if why is not None:
            self.drop()
        return why

    def drop(self) -> None:
        """Kill the spare, and wait for its end."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _why_not(self, start: Start) -> str | None:
        ours, theirs = self.start.variables, start.variables
        different = {k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)}
        if names := sorted(different.difference(environment.LATE)):
            return f"the environment of the attempt differs: {', '.join(names[:3])}"
        if replace(start, variables={}) != replace(self.start, variables={}):
            return "the attempt is started in another way"
        return None

    def _copy_output(self) -> None:
        with contextlib.suppress(OSError):
            os.lseek(self.output, 0, os.SEEK_SET)
            while data := os.read(self.output, _COPY_BYTES):
                os.write(1, data)
            os.close(self.output)
