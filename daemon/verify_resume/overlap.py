"""Resume a training that nothing killed from an earlier checkpoint, and compare it at a later one.

One start and a few steps show what a resume does not restore, before many steps have spread it.
"""

from dataclasses import dataclass
from typing import Final

from rekindle.daemon.verify_resume.comparison import Difference, of_checkpoints
from rekindle.daemon.verify_resume.repeated_steps import FirstDifference
from rekindle.daemon.verify_resume.trial import Training
from rekindle.state.counted import counted
from rekindle.state.run import checkpoints, entries
from rekindle.state.run.checkpoints import Position

_STEPS: Final = 8
"""Most steps before the epoch's start, and after it."""


@dataclass(frozen=True, slots=True)
class Range:
    """Choose the steps that are trained twice.

    Attributes:
        every: steps between two checkpoints.
        before: the earlier checkpoint lies before this step, as an epoch's start if there is one.
        until: the later checkpoint.
    """

    every: int
    before: int
    until: Position

    @classmethod
    def of(cls, training: Training) -> "Range | None":
        """Choose a range over the start of the second epoch; None for a training of one step."""
        first = next(iter(training.entries(entries.epoch_ended)), None)
        if first is not None and training.steps > first["step"] > 1:
            ended = first["step"]
            every = max(1, min(_STEPS, ended // 2, training.steps - ended))
            return cls(every, ended, Position(first["stage"], first["epoch"] + 1, ended + every))
        every = min(_STEPS, training.steps // 3)
        return cls(every, every + 1, Position(0, 0, 2 * every)) if every else None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Hold what the steps that were trained twice showed.

    Attributes:
        since, until: the checkpoints.
        differences: of the whole state at the later one.
        first: the first repeated step that differs.
    """

    since: str
    until: str
    steps: int
    differences: tuple[Difference, ...]
    first: FirstDifference | None

    @classmethod
    def of(cls, training: Training) -> "Overlap | None":
        """Read a training that :meth:`Trial.overlapped` returned; None if it failed."""
        receipts = training.resumed
        found = {
            c.name: c
            for c in checkpoints.scan(training.run.checkpoints)
            if c.position == training.end
        }
        kept = {c.name: c for c in checkpoints.scan(training.set_back)}
        both = sorted(found.keys() & kept.keys())
        if training.failure or not receipts or not both:
            return None
        return cls(
            receipts[-1]["checkpoint"],
            both[-1],
            found[both[-1]].position.step - receipts[-1]["step"],
            tuple(of_checkpoints(kept[both[-1]], found[both[-1]])),
            training.repeated.first,
        )

    def __str__(self) -> str:
        """Return it as a sentence."""
        what = f"One resume from {self.since} to {self.until} ({counted(self.steps, 'step')})"
        if not self.differences:
            return f"{what}: the whole state is identical."
        one = self.differences[0]
        more = f" and {len(self.differences) - 1} more" if len(self.differences) > 1 else ""
        began = f"; it began at {self.first}" if self.first else ""
        return f"{what} differs: {one.kind} {one.name} ({one.detail}){more}{began}."


def as_json(found: Overlap | None) -> dict[str, object] | None:
    """Return it in the shape that docs/verify-resume.md describes."""
    if found is None:
        return None
    return {
        "since": found.since,
        "until": found.until,
        "steps": found.steps,
        "differences": [
            {"kind": d.kind, "name": d.name, "detail": d.detail, "checkpoint": d.checkpoint}
            for d in found.differences
        ],
    }
