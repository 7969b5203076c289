"""Job states and the legal transitions between them: one table, shown in the docs as it is."""

from enum import StrEnum
from typing import Final

from rekindle.state.errors import RekindleError


class JobState(StrEnum):
    """Where a job stands. Each but ``queued`` carries its reason in words."""

    QUEUED = "queued"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    HELD = "held"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class IllegalTransition(RekindleError):
    """A job was about to go where the table of transitions does not lead."""


ACTIVE: Final = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})
"""States with an attempt that has not ended."""

TERMINAL: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
"""States that only a person leaves, by ``retry``."""

_ENDS: Final = frozenset(
    {
        JobState.QUEUED,
        JobState.WAITING,
        JobState.HELD,
        JobState.DONE,
        JobState.FAILED,
        JobState.CANCELLED,
    }
)

TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset(
        {JobState.WAITING, JobState.STARTING, JobState.HELD, JobState.CANCELLED}
    ),
    JobState.WAITING: frozenset(
        {JobState.WAITING, JobState.QUEUED, JobState.STARTING, JobState.HELD, JobState.CANCELLED}
    ),
    JobState.STARTING: frozenset({JobState.RUNNING, JobState.STOPPING}) | _ENDS,
    JobState.RUNNING: frozenset({JobState.STOPPING}) | _ENDS,
    JobState.STOPPING: _ENDS,
    JobState.HELD: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.DONE: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def check(old: JobState, new: JobState) -> None:
    """
    Raises:
        IllegalTransition: the table does not lead from ``old`` to ``new``.
    """
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(
            f"A job that is {old} cannot become {new}.",
            hint="This is a defect of rekindle: please report it with `rekindle show --json`.",
        )
