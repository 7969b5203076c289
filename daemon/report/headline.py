"""Count what a period was worth: jobs, interruptions, repeated steps, hours."""

from dataclasses import dataclass
from typing import NamedTuple

from rekindle.daemon.report.facts import Facts, JobFacts
from rekindle.state.counted import counted
from rekindle.state.ledger.period import Turn
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.run import proof


@dataclass(frozen=True, slots=True)
class Headline:
    """Hold the numbers of a period.

    Attributes:
        done, failed, cancelled: jobs that ended in it.
        held, running: jobs that are so now.
        survived: interruptions after which the job went further.
        lost: steps of failed and cancelled jobs that no checkpoint holds.
        repeated: steps that relaunches repeated.
        identical: how many of them were compared with the earlier ones and were identical.
        different: jobs in which a repeated step was not identical.
        uncounted: relaunches of which nobody knows how many steps they repeat (commands).
        gpus: the hours are those of GPUs; else of attempts, since none had a GPU.
        hours: of all attempts in the period, times their GPUs.
        useful: of these, without what was repeated, was lost, or trained no step.
    """

    done: int
    held: int
    failed: int
    cancelled: int
    running: int
    survived: int
    lost: int
    repeated: int
    identical: int
    different: int
    uncounted: int
    gpus: bool
    hours: float
    useful: float

    @property
    def text(self) -> str:
        """Say it in one line."""
        if not self.hours and not (self.done or self.held or self.failed or self.cancelled):
            return "Nothing ran." if not self.running else f"{self.running} running."
        parts = [f"{self.done} done"]
        parts += [
            f"{count} {word}"
            for count, word in (
                (self.held, "held"),
                (self.failed, "failed"),
                (self.cancelled, "cancelled"),
                (self.running, "running"),
            )
            if count
        ]
        parts.append(f"{counted(self.survived, 'interruption')} survived")
        parts.append(f"{counted(self.lost, 'step')} lost")
        if self.repeated:
            parts.append(self._repeated())
        if self.different:
            parts.append(f"not identical in {counted(self.different, 'job')}")
        if self.uncounted:
            parts.append(f"{counted(self.uncounted, 'relaunch')} whose steps nobody counts")
        if self.hours:
            unit, size = ("hours", 1) if self.hours >= 1 else ("minutes", 60)
            unit = f"GPU-{unit}" if self.gpus else unit
            parts.append(f"{size * self.useful:.1f} of {size * self.hours:.1f} {unit} useful")
        return ", ".join(parts) + "."

    def _repeated(self) -> str:
        if self.identical >= self.repeated:
            return f"{self.repeated} repeated and proved identical"
        if not self.identical:
            return f"{self.repeated} repeated, not compared"
        return f"{self.repeated} repeated, {self.identical} of them proved identical"


class _Time(NamedTuple):
    """Hold seconds of attempts in the period, and those that were of use; and times their GPUs."""

    spent: float
    useful: float
    gpu_spent: float
    gpu_useful: float


def of(facts: Facts) -> Headline:
    """Compute the headline."""
    states = [one.row.state for one in facts.jobs]
    relaunches = [turn for one in facts.jobs for turn in one.turns if turn.n > 1 and turn.receipt]
    repeated = sum(turn.lost_steps or 0 for turn in relaunches)
    times = [_times(one, facts) for one in facts.jobs]
    on_gpus = any(one.gpu_spent for one in times)
    return Headline(
        done=states.count(JobState.DONE),
        held=states.count(JobState.HELD),
        failed=states.count(JobState.FAILED),
        cancelled=states.count(JobState.CANCELLED),
        running=sum(state in ACTIVE for state in states),
        survived=sum(map(survived, facts.jobs)),
        lost=sum(map(lost, facts.jobs)),
        repeated=repeated,
        identical=min(sum(map(_identical, relaunches)), repeated),
        different=sum(any(map(_different, one.turns)) for one in facts.jobs),
        uncounted=sum(turn.lost_steps is None for turn in relaunches),
        gpus=on_gpus,
        hours=sum(one.gpu_spent if on_gpus else one.spent for one in times) / 3600,
        useful=sum(one.gpu_useful if on_gpus else one.useful for one in times) / 3600,
    )


def survived(one: JobFacts) -> int:
    """Count the interruptions in the period after which the job went further."""
    job, count, reached = one.row, 0, -1
    for turn in reversed(one.turns):
        further = job.state == JobState.DONE or job.state in ACTIVE or reached > _reached(turn)
        count += turn.interrupted and turn.n < job.attempts and further
        reached = max(reached, _reached(turn))
    return count


def _reached(turn: Turn) -> int:
    return turn.to_step or 0


def lost(one: JobFacts) -> int:
    """Count the steps of a job that ended badly which no checkpoint holds."""
    if one.row.state not in (JobState.FAILED, JobState.CANCELLED):
        return 0
    return max((one.furthest or 0) - (one.kept or 0), 0)


def duration(turn: Turn, now: float) -> float:
    """Return the seconds that an attempt took, by the keeper's clock where it said so."""
    if turn.seconds is not None:
        return max(turn.seconds, 0.0)
    return max((now if turn.ended_at is None else turn.ended_at) - turn.started_at, 0.0)


def _times(one: JobFacts, facts: Facts) -> _Time:
    """Sum up the time of the attempts of a job within the period."""
    spent = useful = gpu_spent = gpu_useful = 0.0
    now = facts.now if one.seen is None else min(one.seen, facts.now)
    before: Turn | None = None
    for turn in one.turns:
        gpus = len(turn.gpus or ())
        took = duration(turn, now)
        if took:
            # an attempt that began before the period counts with its part in it
            began = turn.started_at if turn.ended_at is None else turn.ended_at - took
            took *= min(max(1 - (facts.since - began) / took, 0.0), 1.0)
        spent += took
        gpu_spent += took * gpus
        gain = 0.0 if turn.outcome is not None and _for_nothing(turn) else took
        useful += gain
        gpu_useful += gain * gpus
        if before is not None and not _for_nothing(before):
            repeated = turn.said("lost_seconds")
            if isinstance(repeated, int | float):
                repeated = min(max(repeated, 0.0), duration(before, now))
                useful -= repeated
                gpu_useful -= repeated * len(before.gpus or ())
        before = turn
    gone = lost(one)
    if gone and before is not None and before.to_step and not _for_nothing(before):
        part = gone / max(before.to_step - (before.from_step or 0), gone)
        useful -= part * duration(before, now)
        gpu_useful -= part * duration(before, now) * len(before.gpus or ())
    return _Time(
        spent, min(max(useful, 0.0), spent), gpu_spent, min(max(gpu_useful, 0.0), gpu_spent)
    )


def _for_nothing(turn: Turn) -> bool:
    """Return whether an attempt ended without having trained a step, e.g. by a mistake."""
    return turn.interrupted and (turn.to_step or 0) <= (turn.from_step or 0)


def _proofs(turn: Turn) -> list[dict[str, object]]:
    found = turn.said("proved")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _identical(turn: Turn) -> int:
    return sum(
        steps
        for one in _proofs(turn)
        if one.get("result") == proof.IDENTICAL and isinstance(steps := one.get("steps"), int)
    )


def _different(turn: Turn) -> bool:
    return any(one.get("result") == proof.DIFFERENT for one in _proofs(turn))
