"""Determine the cause of an attempt's end, from which the daemon computes its verdict."""

import signal
from dataclasses import dataclass

from rekindle.jobs import environment


@dataclass(frozen=True, slots=True)
class End:
    """The end of a trainer.

    Attributes:
        status: as Popen gives it.
        stop_requested: the keeper was asked to end the attempt.
        killed_after_grace: the trainer did not end within its grace period.
        hung: the keeper ended the trainer because it hung.
        over_memory: the keeper killed the trainer for exceeding its memory limit.
        killer: scope in which the kernel killed for memory: ``"job"``, ``"host"`` or None.
    """

    status: int
    stop_requested: bool = False
    killed_after_grace: bool = False
    hung: bool = False
    over_memory: bool = False
    killer: str | None = None

    @property
    def exit_code(self) -> int | None:
        """Exit code; None if a signal ended the trainer."""
        return None if self.status < 0 else self.status

    @property
    def signal(self) -> int | None:
        """Signal that ended the trainer; None if it exited."""
        return -self.status if self.status < 0 else None

    @property
    def ran_out_of_memory(self) -> bool:
        """True if the trainer ended because memory ran out.

        A killed data worker ends its trainer by an exception, so the count of the job's own
        cgroup is sufficient evidence; that of the host is only with a SIGKILL that the keeper
        did not send.
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
    """Determine the cause of an end."""
    if end.exit_code == environment.EXIT_DONE:
        return "done"
    if end.ran_out_of_memory:
        return "host_oom"
    if end.hung:
        return "hang"
    if end.exit_code == environment.EXIT_SAVED:
        return "preempted"
    # asked to end before it had a handler, or killed after its grace period: checkpoints remain
    if end.stop_requested and end.exit_code is None:
        return "preempted"
    if end.exit_code == environment.EXIT_PERMANENT:
        return "permanent"
    return "crash"
