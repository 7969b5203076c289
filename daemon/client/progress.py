"""Describe how far a job is, in words and as JSON.

To people a running epoch has the number that Keras prints: the first is 1. Of a job that does not
run the finished epochs are counted. In JSON epochs are 0-based.
"""

from dataclasses import dataclass

from rekindle.jobs import heartbeat
from rekindle.state.counted import counted
from rekindle.state.ledger.listing import Latest, Listing
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE
from rekindle.state.paths import Home

_BEFORE_TRAINING = frozenset({"", "start", "script"})


@dataclass(frozen=True, slots=True)
class Progress:
    """Describe how far a job is.

    Attributes:
        epoch: 0-based epoch in progress, which is the number of the finished ones.
        epochs: how many it trains in all, None where that is not known.
        left: estimated seconds to the end of its training.
    """

    epoch: int | None
    step: int | None
    epochs: int | None = None
    left: float | None = None
    running: bool = False

    @property
    def text(self) -> str:
        """Describe it in a few words; ``-`` for a job that has not trained."""
        if self.running and self.epoch is not None:
            return f"epoch {self.epoch + 1}" + (f" of {self.epochs}" if self.epochs else "")
        if self.epoch:
            return (
                f"{self.epoch} of {self.epochs} epochs"
                if self.epochs
                else counted(self.epoch, "epoch")
            )
        return counted(self.step, "step") if self.step else "-"

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
            epochs = _total(latest, beat.epoch)
            left = _left(book, job, latest, beat.epoch, epochs, now)
            # the end of the last epoch: none is in progress
            running = beat.section != heartbeat.ENDED and (epochs is None or beat.epoch < epochs)
            return Progress(beat.epoch, beat.step, epochs, left, running)
    return Progress(latest.epoch, latest.step, _total(latest, latest.epoch or 0))


def rounded(seconds: float) -> str:
    """Format an estimate of seconds: ``50 s``, ``12 min``, ``3 h``, ``2 days``."""
    for most, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h")):
        if seconds < most:
            return f"{max(round(seconds / size), 1)} {unit}"
    return counted(round(seconds / 86400), "day")


def _total(latest: Latest, epoch: int) -> int | None:
    # a later stage of the same attempt may train for longer: its total is not known then
    return latest.epochs if latest.epochs is not None and epoch <= latest.epochs else None


def _left(
    book: Listing, job: JobRow, latest: Latest, epoch: int, epochs: int | None, now: float
) -> float | None:
    timed = book.seconds_of_epoch(job.id, latest.stage or 0)
    if epochs is None or timed is None or epoch >= epochs:
        return None
    seconds, ended = timed
    # of the epoch in progress no more than its expected time has passed
    return seconds * (epochs - epoch) - min(max(now - ended, 0.0), seconds)
