"""Describe how far a job is, in words and as JSON.

To people a running epoch has the number that Keras prints: the first is 1. Of a job that does not
run the finished epochs are counted. In JSON epochs are 0-based.
"""

from dataclasses import dataclass
from typing import Any

from rekindle.jobs import heartbeat
from rekindle.jobs.heartbeat import UNKNOWN, Beat, Plan
from rekindle.state.counted import counted
from rekindle.state.ledger.listing import Latest, Listing
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE
from rekindle.state.paths import Home

_BEFORE_TRAINING = frozenset({"", "start", "script", "seek"})


@dataclass(frozen=True, slots=True)
class Progress:
    """Describe how far a job is.

    Attributes:
        epoch: 0-based epoch in progress, which is the number of the finished ones.
        step: batches trained in the whole run.
        epochs: how many it trains in all, None where that is not known.
        left: estimated seconds to the end of its training.
        running: an epoch is in progress.
        epoch_step: batches of the epoch in progress that are trained.
        steps_per_epoch: None where the data has no known length.
        steps: how many batches the training has in all, None where that is not known.
        pace: median seconds of the latest steps.
    """

    epoch: int | None
    step: int | None
    epochs: int | None = None
    left: float | None = None
    running: bool = False
    epoch_step: int | None = None
    steps_per_epoch: int | None = None
    steps: int | None = None
    pace: float | None = None

    @property
    def text(self) -> str:
        """Describe it in a few words; ``-`` for a job that has not trained.

        A number that is not known is a question mark.
        """
        if self.running and self.epoch is not None:
            if self.epochs is None and self.epoch == 0 and self.epoch_step:
                return f"step {self.epoch_step} of {_or_unknown(self.steps)}"
            return f"epoch {self.epoch + 1} of {_or_unknown(self.epochs)}"
        if self.epoch:
            return (
                f"{self.epoch} of {self.epochs} epochs"
                if self.epochs
                else counted(self.epoch, "epoch")
            )
        return counted(self.step, "step") if self.step else "-"

    @property
    def within(self) -> str:
        """Describe the place in the epoch in progress; empty where none is."""
        if not self.running or self.epoch_step is None or (self.epochs is None and not self.epoch):
            return ""
        if self.steps_per_epoch is None:
            return f"step {self.epoch_step} of an epoch of unknown length"
        return f"step {self.epoch_step} of {self.steps_per_epoch}"

    @property
    def speed(self) -> str:
        """Describe the time of a step in a few words; empty where it is not known."""
        if not self.running or not self.pace:
            return ""
        return f"{self.pace * 1000:.3g} ms a step" if self.pace < 1 else f"{self.pace:.3g} s a step"

    @property
    def fraction(self) -> float | None:
        """Return the share of the training that is done; None where its length is not known."""
        if self.epochs and self.epoch is not None:
            part = (self.epoch_step or 0) / self.steps_per_epoch if self.steps_per_epoch else 0.0
            return min((self.epoch + min(part, 1.0)) / self.epochs, 1.0)
        if self.steps and self.epoch_step is not None:
            return min(self.epoch_step / self.steps, 1.0)
        return None

    @property
    def estimate(self) -> str:
        """Describe the time that is left in a sentence; empty where it is not known."""
        return "" if self.left is None else f"About {rounded(self.left)} left."


def of(home: Home, book: Listing, job: JobRow, latest: Latest, now: float) -> Progress:
    """Find how far a job is: of a running one by its heartbeat, else by the ledger."""
    if job.state in ACTIVE:
        beat = heartbeat.read(home.run(job.id).heartbeat)
        if (
            beat is not None
            and beat.attempt == job.attempts
            and beat.section not in _BEFORE_TRAINING
        ):
            return _running(book, job, latest, beat, now)
    return Progress(
        latest.epoch,
        latest.step,
        _total(latest, latest.epoch or 0),
        steps_per_epoch=latest.steps_per_epoch if latest.epochs else None,
        steps=_steps(Plan(latest.epochs, latest.steps_per_epoch)),
    )


def as_json(far: Progress) -> dict[str, Any]:
    """Return the fields that docs/json.md describes."""
    return {
        "epoch": far.epoch,
        "step": far.step,
        "epochs": far.epochs,
        "epoch_step": far.epoch_step,
        "steps_per_epoch": far.steps_per_epoch,
        "steps": far.steps,
        "fraction": None if far.fraction is None else round(far.fraction, 6),
        "step_seconds": far.pace,
        "left_seconds": far.left,
    }


def bar(fraction: float, width: int = 10, *, plain: bool = False) -> str:
    """Draw a bar; of characters that every encoding has where it is ``plain``."""
    full = int(fraction * width)
    return "#" * full + "." * (width - full) if plain else "█" * full + "░" * (width - full)


def rounded(seconds: float) -> str:
    """Format an estimate of seconds: ``50 s``, ``12 min``, ``3 h``, ``2 days``."""
    for most, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h")):
        if seconds < most:
            return f"{max(round(seconds / size), 1)} {unit}"
    return counted(round(seconds / 86400), "day")


def _or_unknown(count: int | None) -> str:
    return "?" if count is None else str(count)


def _steps(plan: Plan) -> int | None:
    if plan.steps_per_epoch is None:
        return None
    return plan.steps_per_epoch * (plan.epochs or 1)


def _running(book: Listing, job: JobRow, latest: Latest, beat: Beat, now: float) -> Progress:
    plan = beat.plan
    if plan == UNKNOWN and beat.stage in (None, latest.stage):
        # a beat of an older trainer has none; the receipt is that of the attempt's first stage
        plan = Plan(_total(latest, beat.epoch))
    stage = latest.stage or 0 if beat.stage is None else beat.stage
    epochs = plan.epochs
    # the end of the last epoch: none is in progress
    running = beat.section != heartbeat.ENDED and (epochs is None or beat.epoch < epochs)
    timed = book.seconds_of_epoch(job.id, stage)
    return Progress(
        beat.epoch,
        beat.step,
        epochs,
        _left(beat, plan, timed, now) if running else None,
        running,
        None if beat.stage is None else beat.epoch_step,
        plan.steps_per_epoch if epochs else None,
        _steps(plan),
        beat.pace,
    )


def _total(latest: Latest, epoch: int) -> int | None:
    # a later stage of the same attempt may train for longer: its total is not known then
    return latest.epochs if latest.epochs is not None and epoch <= latest.epochs else None


def _left(beat: Beat, plan: Plan, timed: tuple[float, float] | None, now: float) -> float | None:
    """Estimate the seconds to the end of a training.

    By the median step, where the number of steps is known: it follows a change of speed at once.
    What an epoch takes beside its steps (validation, saves) is that of the epochs that have ended.

    Args:
        timed: median seconds of the latest epochs, and when the last one ended.
    """
    steps = _steps(plan)
    if steps is not None and plan.steps_per_epoch is not None and beat.pace is not None:
        done = (beat.epoch if plan.epochs else 0) * plan.steps_per_epoch + beat.epoch_step
        left = max(steps - done, 0) * beat.pace
        if plan.epochs and timed is not None:
            beside = max(timed[0] - plan.steps_per_epoch * beat.pace, 0.0)
            left += beside * (plan.epochs - beat.epoch)
        return left
    if plan.epochs is None or timed is None:
        return None
    seconds, ended = timed
    # of the epoch in progress no more than its expected time has passed
    return seconds * (plan.epochs - beat.epoch) - min(max(now - ended, 0.0), seconds)
