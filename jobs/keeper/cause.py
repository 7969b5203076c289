"""Judge why an attempt ended, by what its keeper saw. The daemon's verdict starts from this."""

import signal
from dataclasses import dataclass

from rekindle.jobs import environment


@dataclass(frozen=True, slots=True)
class End:
    """The end of a trainer.

    Attributes:
        status: as Popen gives it.
        stop_requested: the keeper was told to end the attempt.
        killed_after_grace: it did not end within its grace period.
        hung: the keeper ended it since it did not move.
        over_memory: the keeper killed it for its memory.
        killer: where the kernel killed for memory: ``"job"``, ``"host"`` or None.
    """

    status: int
    stop_requested: bool = False
    killed_after_grace: bool = False
    hung: bool = False
    over_memory: bool = False
    killer: str | None = None

    @property
    def exit_code(self) -> int | None:
        """Give the exit code; None for a trainer that a signal ended."""
        return None if self.status < 0 else self.status

    @property
    def signal(self) -> int | None:
        """Give the signal that ended it, if one did."""
        return -self.status if self.status < 0 else None

    @property
    def ran_out_of_memory(self) -> bool:
        """Tell whether memory ended it.

        A killed data worker ends its trainer by an exception: the count of the job's own cgroup
        is evidence enough; that of the whole machine only with a SIGKILL that is not ours.
        """
        return (
            self.over_memory
            or self.killer == "job"
            or (
                self.killer == "host"
                and self.signal == signal.SIGKILL
                and not self.killed_after_grace
            )
        )


def cause(end: End) -> str:
    """Name the cause of an end."""
    if end.exit_code == environment.EXIT_DONE:
        return "done"
    if end.ran_out_of_memory:
        return "host_oom"
    if end.hung:
        return "hang"
    if end.exit_code == environment.EXIT_SAVED:
        return "preempted"
    # asked to end before it could listen, or after its grace: the checkpoints count
    if end.stop_requested and end.exit_code is None:
        return "preempted"
    if end.exit_code == environment.EXIT_PERMANENT:
        return "permanent"
    return "crash"
