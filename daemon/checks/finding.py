"""Define what a check finds, and what it looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from rekindle.jobs.job import Job
from rekindle.state.counted import few
from rekindle.state.lifecycle import JobState

OK = "ok"
WARNING = "warning"
ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        severity: ``"ok"``, ``"warning"`` if jobs may fail, ``"error"`` if they will.
        hint: what to do; empty if nothing needs to be done.
        path: the file or folder concerned, where the settings of the service may be the cause.
    """

    severity: str
    check: str
    what: str
    hint: str = ""
    path: str = ""

    def to_json(self) -> dict[str, str]:
        """Serialize the finding."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a finding that another process wrote; unknown keys are ignored."""
        return cls(**{key: str(value.get(key, "")) for key in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job or a spec that will run; ``state`` is None for a spec in the inbox."""

    name: str
    job: Job
    state: JobState | None = None


def named(waiting: Sequence[Waiting]) -> str:
    """Name some jobs: the first three, and the number of the others."""
    return few([one.name for one in waiting], 3)
