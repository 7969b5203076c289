"""Jobs that run a command of any kind: what it resumes from, and what it has saved.

The contract is in docs/spec.md: the command commits directories into ``checkpoints/`` by a
rename; the keeper names the newest good one to the next attempt and tells the journal.
Standard library only: the keeper imports this.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rekindle.jobs import environment
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries
from rekindle.state.run.checkpoints import Checkpoint, Refusal
from rekindle.state.run.entries import Entry


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """Describe what an attempt of a command resumes from.

    Attributes:
        checkpoint: the newest good one, None for the beginning.
        refused: newer ones that are damaged, each with the reason.
        known: names of all that were there.
        is_first: no attempt ran before, so nothing is repeated.
    """

    checkpoint: Checkpoint | None
    refused: list[Refusal]
    known: frozenset[str]
    is_first: bool

    def variables(self) -> dict[str, str]:
        """Give what the command finds in its environment."""
        found = self.checkpoint
        return {
            environment.INITIAL_EPOCH: str(found.position.epoch if found else 0),
            environment.CHECKPOINT: str(found.path) if found else "",
        }

    def receipt(self) -> Entry:
        """Make the journal's ``resumed``; nobody counts the steps that a command repeats."""
        found = self.checkpoint
        return entries.resumed(
            lost_steps=0 if self.is_first else None,
            stage=0,
            epoch=found.position.epoch if found else 0,
            step=found.position.step if found else 0,
            checkpoint=found.name if found else None,
            refused=[{"name": r.name, "reason": r.reason} for r in self.refused],
        )


def is_first(before: Iterable[Entry]) -> bool:
    """Tell from a run's journal that no attempt has run since its start from scratch."""
    ran = False
    for entry in before:
        if entry["kind"] == entries.scratch_requested.name:
            ran = False
        elif entry["kind"] == entries.attempt_started.name:
            ran = True
    return not ran


def restore_point(run: Run, before: Iterable[Entry]) -> RestorePoint:
    """Find the newest good checkpoint that earlier attempts of a command have left.

    Args:
        before: the run's journal.
    """
    refused = []
    chosen = None
    there = checkpoints.scan(run.checkpoints)
    for checkpoint in there:
        reason = verify(checkpoint)
        if reason is None:
            chosen = checkpoint
            break
        refused.append(Refusal(checkpoint.name, reason))
    return RestorePoint(chosen, refused, frozenset(c.name for c in there), is_first(before))


def verify(checkpoint: Checkpoint) -> str | None:
    """Explain why a command's checkpoint cannot be used; None for a good one.

    It needs no manifest.
    """
    if not (checkpoint.path / checkpoints.MANIFEST).exists():
        return None if checkpoint.path.is_dir() else "it is not a directory"
    return checkpoints.verify(checkpoint)


def committed(run: Run, before: RestorePoint) -> Iterator[Entry]:
    """Make an entry for each checkpoint that came since, the oldest first."""
    for checkpoint in reversed(checkpoints.scan(run.checkpoints)):
        if checkpoint.name not in before.known and verify(checkpoint) is None:
            position = checkpoint.position
            yield entries.checkpoint_committed(
                name=checkpoint.name,
                stage=position.stage,
                epoch=position.epoch,
                step=position.step,
                bytes=checkpoint.bytes,
                best=False,
            )
