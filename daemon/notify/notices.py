"""Decide what is worth a notice. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from rekindle.daemon.client.lines import plain
from rekindle.daemon.report.needs import command_in
from rekindle.daemon.spec.parse import SUFFIXES
from rekindle.state.counted import counted
from rekindle.state.ledger.rows import EventRow, JobRow
from rekindle.state.lifecycle import ACTIVE, JobState

_LONGEST: Final = 400
_BY_A_PERSON: Final = "It was stopped "
"""Beginning of the reason of a job that somebody asked to hold."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Say that something happened.

    Attributes:
        about: the job's id, the file's name, or ``disk``.
        command: what a person types next; empty where there is nothing to do.
        at: unix time.
    """

    kind: str
    about: str
    text: str
    command: str
    at: float

    def to_json(self) -> dict[str, Any]:
        """Serialize the notice."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read a notice; raise KeyError or ValueError for anything else."""
        kind, about, text, command = (
            str(value[key]) for key in ("kind", "about", "text", "command")
        )
        return cls(kind, about, text, command, float(value["at"]))


@dataclass(frozen=True, slots=True)
class Lookup:
    """Look up what an event does not say.

    Attributes:
        job: the job with an id, None if it is gone.
        interruptions: how many attempts of a job were interrupted so far.
    """

    job: Callable[[str], JobRow | None]
    interruptions: Callable[[str], int]


def of_events(
    events: Iterable[EventRow], look: Lookup, *, most: int, seen: dict[str, int]
) -> Iterator[Notice]:
    """Yield the notices of events; what heals by itself has none.

    Args:
        most: interruptions of a job that are normal.
        seen: the number of interruptions at the last notice about each job; updated.
    """
    for event in events:
        if event.kind == "spec_rejected":
            notice = _refused(event)
        elif event.kind == "disk_full":
            text = f"The disk is full: {event.data.get('message') or 'nothing is started'}"
            notice = Notice("disk", "disk", _short(text), "rekindle prune", event.at)
        elif event.job is not None and event.kind.startswith("job_"):
            notice = _of_job(event, event.job, look, most, seen)
        else:
            notice = None
        if notice is not None:
            yield notice


def still_holds(notice: Notice, job: JobRow | None) -> bool:
    """Return whether a notice is still true when it is sent: a person may have been faster."""
    if notice.kind in ("held", "failed", "done"):
        return job is not None and str(job.state) == notice.kind
    if notice.kind == "interrupted":
        return job is not None and job.state not in (JobState.DONE, JobState.CANCELLED)
    return True


def disk_low(free: int, total: int, at: float) -> Notice:
    """Say that the disk of the home fills up."""
    text = f"The disk of the home is filling up: {free / total:.0%} free ({free / 1e9:.1f} GB)."
    return Notice("disk", "disk", text, "rekindle prune", at)


def _of_job(
    event: EventRow, job_id: str, look: Lookup, most: int, seen: dict[str, int]
) -> Notice | None:
    job = look.job(job_id)
    state = event.kind.removeprefix("job_")
    if state in ("done", "failed", "cancelled"):
        seen.pop(job_id, None)
    if job is None or state == "cancelled":
        return None
    reason = _short(str(event.data.get("reason") or ""))
    if state == "done":
        return Notice(state, job_id, reason, f"rekindle show {job_id}", event.at)
    if state == "failed":
        command = command_in(job.hint, f"rekindle retry {job_id}")
        return Notice(state, job_id, reason, command, event.at)
    if state == "held":
        if reason.startswith(_BY_A_PERSON):
            return None
        command = command_in(job.hint, f"rekindle release {job_id}")
        return Notice(state, job_id, reason, command, event.at)
    if state in ("queued", "waiting") and event.data.get("was") in {str(one) for one in ACTIVE}:
        return _interrupted(event, job_id, look.interruptions(job_id), most, seen)
    return None


def _interrupted(
    event: EventRow, job_id: str, count: int, most: int, seen: dict[str, int]
) -> Notice | None:
    """Report a job that is interrupted too often: at the limit, and whenever the count doubles."""
    before = seen.get(job_id, 0)
    if count <= most or (before and count < 2 * before):
        return None
    seen[job_id] = count
    reason = _short(str(event.data.get("reason") or ""))
    text = f"{counted(count, 'interruption')} so far; each was resumed. The last: {reason}"
    return Notice("interrupted", job_id, text, f"rekindle show {job_id}", event.at)


def _refused(event: EventRow) -> Notice | None:
    file = str(event.data.get("file") or "")
    if not file.endswith(SUFFIXES):
        return None  # a request of a verb, whose caller got the answer
    text = _short(f"{event.data.get('error') or ''} {event.data.get('hint') or ''}")
    return Notice("refused", plain(file), text, "rekindle ls", event.at)


def _short(text: str) -> str:
    """Put a text on one line of bounded length."""
    one = plain(text).strip()
    return one if len(one) <= _LONGEST else f"{one[: _LONGEST - 3]}..."
