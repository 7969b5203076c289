"""Describe what of a job is saved, in sentences that reasons, answers and hints share.

No sentence may promise a checkpoint that does not exist: `stop`, `window`, `pause`, preemption
and reboots all use this module.
"""

from dataclasses import dataclass
from typing import Final

from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints

NOTHING: Final = "nothing of it is saved"


@dataclass(frozen=True, slots=True)
class Saved:
    """Describe what a relaunch of a job would find.

    Attributes:
        checkpoint: name of the newest checkpoint, None if there is none.
        saves: the running attempt is in a training that is followed: it saves when it is asked
            to end.
        unfollowed: the latest attempt's report of training that is not saved.
    """

    checkpoint: str | None = None
    saves: bool = False
    unfollowed: str | None = None

    @classmethod
    def of(cls, ledger: Ledger, job: JobRow, run: Run) -> "Saved":
        """Inspect the run directory and the latest attempt."""
        attempt = ledger.attempt(job.id, job.attempts)
        follows = attempt is not None and attempt.from_step is not None
        # a command journals its receipt before it does anything
        follows = follows and not ledger.spec(job.id).get("command")
        return cls(newest(run), follows, attempt.unfollowed if attempt is not None else None)

    def when_asked(self, then: str) -> str:
        """Describe what a request to end does; ``then`` follows it, e.g. ``is then held``."""
        if self.saves:
            text = f"It saves and {then}."
        elif self.checkpoint:
            text = f"It ends and {then}; its latest checkpoint is {self.checkpoint}."
        else:
            text = f"It ends and {then}; {NOTHING}."
        return f"{text} {self.unfollowed}" if self.unfollowed else text

    @property
    def kept(self) -> str:
        """End of a sentence about a job that does not run."""
        if self.checkpoint:
            return f"its latest checkpoint is {self.checkpoint}"
        return NOTHING

    @property
    def resumes(self) -> str:
        """End of a sentence about a job that is started again."""
        if self.checkpoint:
            return "it resumes from its latest checkpoint"
        return f"{NOTHING}, so it starts from the beginning"

    @property
    def release(self) -> str:
        """Hint on what `rekindle release` does."""
        how = (
            "resumes it from its latest checkpoint"
            if self.checkpoint
            else "starts it from the beginning"
        )
        return f"`rekindle release` {how}."


def newest(run: Run) -> str | None:
    """Name the newest checkpoint on disk, unverified; None if its folder cannot be listed."""
    try:
        found = checkpoints.scan(run.checkpoints)
    except OSError:
        return None
    return found[0].name if found else None
