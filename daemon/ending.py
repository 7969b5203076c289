"""How an attempt ended, read from a run's journal: plain facts for the verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended the script, as its trainer reported it."""

    kind: str
    message: str
    hint: str
    epoch: int
    step: int
    trained: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """One ended attempt.

    Attributes:
        cause: done, preempted, permanent or crash as the keeper saw it; ``lost`` where the
            keeper could not tell any more.
        progressed: a checkpoint beyond the point of departure was committed.
        failure: the exception that ended the script, where it was reported.
        previous: the failure of the attempt before, if that one failed too.
        boot_id: the boot in which the attempt was started, None where it was not.
    """

    attempt: int
    cause: str
    exit_code: int | None
    signal: int | None
    started: bool
    stop_requested: bool
    killed_after_grace: bool
    progressed: bool
    failure: Failure | None
    previous: Failure | None
    boot_id: str | None


def read(entries: Iterable[dict[str, Any]], attempt: int) -> Ending:
    """Collects the facts about ``attempt`` from all journal entries of its run."""
    end: dict[str, Any] = {}
    boot: str | None = None
    started = False
    departed = -1
    progressed = False
    failures: dict[int, Failure] = {}
    for entry in entries:
        kind, number = entry["kind"], entry.get("attempt")
        if kind == "failed" and number is not None:
            failures[number] = Failure(
                str(entry.get("error_type")),
                str(entry.get("message")),
                str(entry.get("hint") or ""),
                int(entry.get("epoch") or 0),
                int(entry.get("step") or 0),
                bool(entry.get("trained")),
            )
        if number != attempt:
            continue
        if kind == "attempt_started":
            started, boot = True, entry.get("boot_id")
        elif kind == "resumed" and departed < 0:
            departed = int(entry.get("step") or 0)
        elif kind == "checkpoint_committed":
            progressed = progressed or int(entry.get("step") or 0) > max(departed, 0)
        elif kind == "attempt_ended":
            end = entry
    return Ending(
        attempt=attempt,
        cause=end.get("cause", "lost"),
        exit_code=end.get("exit_code"),
        signal=end.get("signal"),
        started=started,
        stop_requested=bool(end.get("stop_requested")),
        killed_after_grace=bool(end.get("killed_after_grace")),
        progressed=progressed,
        failure=failures.get(attempt),
        previous=failures.get(attempt - 1),
        boot_id=boot,
    )
