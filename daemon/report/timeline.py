"""Order what happened: starts, ends and causes of attempts, decisions, and the host's events."""

import signal
from dataclasses import dataclass
from typing import Any, Final

from rekindle.daemon.client.lines import plain
from rekindle.daemon.report.facts import Facts, JobFacts
from rekindle.state.counted import counted
from rekindle.state.ledger.period import Turn
from rekindle.state.ledger.rows import EventRow
from rekindle.state.run import proof

BAD: Final = "bad"
GOOD: Final = "good"
_LEVELS: Final = {
    "job_done": GOOD,
    "job_failed": BAD,
    "job_held": BAD,
    "spec_rejected": BAD,
    "disk_full": BAD,
    "gpu_set_aside": BAD,
    "gpu_failed": BAD,
    "checkpoint_refused": BAD,
    "save_failed": BAD,
    "clock_jumped": BAD,
    "driver_trouble": BAD,
}
_DECISIONS: Final = frozenset({"job_held", "job_failed", "job_cancelled", "job_done"})
_WORDS: Final = ("file", "name", "gpu", "source", "reason", "message", "error")


@dataclass(frozen=True, slots=True)
class Moment:
    """Hold one line of a timeline.

    Attributes:
        job: its id; None for what concerns the whole home.
        what: in a few words.
        cause: why, in a sentence; may be empty.
        level: good, bad or empty.
    """

    at: float
    job: str | None
    attempt: int | None
    what: str
    cause: str
    level: str = ""


def of(facts: Facts) -> tuple[Moment, ...]:
    """Return the timeline of a period, oldest first."""
    # what is decided about a job follows the end of its attempt, whatever the clock said in between
    decided = {
        (event.job, event.attempt): event.at for event in facts.events if event.kind in _DECISIONS
    }
    found = [moment for one in facts.jobs for moment in _attempts(one, facts, decided)]
    found += [_event(event) for event in facts.events]
    return tuple(sorted(found, key=lambda one: one.at))


def _event(event: EventRow) -> Moment:
    data = event.data
    cause = plain(". ".join(str(data[key]).rstrip(".") for key in _WORDS if data.get(key)))
    if event.kind == "clock_jumped":
        cause = f"by {data.get('seconds')} s"
    times = f" ({counted(event.count, 'time')})" if event.count > 1 else ""
    what = event.kind.removeprefix("job_").replace("_", " ") + times
    return Moment(event.at, event.job, event.attempt, what, cause, _LEVELS.get(event.kind, ""))


def _attempts(
    one: JobFacts, facts: Facts, decided: dict[tuple[str | None, int | None], float]
) -> list[Moment]:
    found = []
    for turn in one.turns:
        if turn.started_at >= facts.since:
            found.append(Moment(turn.started_at, one.row.id, turn.n, *_start(turn), ""))
        if turn.ended_at is not None and turn.ended_at >= facts.since and turn.cause != "done":
            level = BAD if turn.interrupted else ""
            at = min(turn.ended_at, decided.get((one.row.id, turn.n), turn.ended_at))
            what = "interrupted" if turn.interrupted else "ended"
            found.append(Moment(at, one.row.id, turn.n, what, ending(turn), level))
    return found


def _start(turn: Turn) -> tuple[str, str]:
    receipt = turn.receipt or {}
    if not receipt.get("checkpoint"):
        return f"attempt {turn.n} started", ""
    words = f"from {plain(str(receipt['checkpoint']))}"
    if turn.lost_steps is None:
        return f"attempt {turn.n} resumed", f"{words}; nobody counts its repeated steps"
    if not turn.lost_steps:
        return f"attempt {turn.n} resumed", f"{words}, repeating nothing"
    steps = counted(turn.lost_steps, "step")
    return f"attempt {turn.n} resumed", f"{words}, repeating {steps}{_proved(receipt)}"


def _proved(receipt: dict[str, Any]) -> str:
    proofs = receipt.get("proved")
    if not isinstance(proofs, list):
        return ""
    return "".join(f"; {plain(proof.words(one))}" for one in proofs if isinstance(one, dict))


def ending(turn: Turn) -> str:
    """Describe the end of an attempt by its cause."""
    return end(turn.cause, turn.outcome, turn.signal, turn.exit_code)


def end(cause: str | None, outcome: str | None, signum: int | None, exit_code: int | None) -> str:
    """Describe an end in a few words; without an outcome it runs."""
    if outcome is None:
        return "running"
    text = plain(cause or outcome)
    if signum:
        try:
            return f"{text} ({signal.Signals(signum).name})"
        except ValueError:
            return f"{text} (signal {signum})"
    return text if exit_code is None else f"{text} (exit code {exit_code})"
