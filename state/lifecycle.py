"""Job states and the legal transitions between them, in one table that the docs show."""

from enum import StrEnum
from typing import Final

from rekindle.state.errors import RekindleError


class JobState(StrEnum):
    """State of a job; each except ``queued`` has a reason in words."""

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
    """The table has no transition between the two states."""


ACTIVE: Final = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})
"""States of a job whose latest attempt has not ended."""

WAITS: Final = frozenset({JobState.QUEUED, JobState.WAITING})
"""States of a job that the queue may start."""

TERMINAL: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
"""States that a job leaves only by ``rekindle retry``."""

OPEN: Final = ACTIVE | WAITS | {JobState.HELD}
"""States of a job that has not ended."""

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
    """Check that the table has a transition from ``old`` to ``new``.

    Raises:
        IllegalTransition: it has none.
    """
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(
            f"A job cannot change from {old} to {new}.",
            hint="This is a bug in rekindle: report it with the output of `rekindle show --json`.",
        )
