"""Find and record the checkpoints of a job that runs a command.

The contract is in docs/spec.md: the command commits directories into ``checkpoints/`` by a
rename; the keeper passes the newest good one to the next attempt and records it in the journal.
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
    """Checkpoint from which an attempt of a command is resumed.

    Attributes:
        checkpoint: the newest good one, None for a start from scratch.
        refused: newer ones that are damaged, each with the reason.
        known: names of all checkpoints at the start.
        is_first: no attempt ran before, so no step is repeated.
    """

    checkpoint: Checkpoint | None
    refused: list[Refusal]
    known: frozenset[str]
    is_first: bool

    def variables(self) -> dict[str, str]:
        """Build the environment variables for the command."""
        found = self.checkpoint
        return {
            environment.INITIAL_EPOCH: str(found.position.epoch if found else 0),
            environment.CHECKPOINT: str(found.path) if found else "",
        }

    def receipt(self) -> Entry:
        """Build the entry ``resumed``; the steps that a command repeats cannot be counted."""
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
    """Check in a run's journal that no attempt has run since the last start from scratch."""
    ran = False
    for entry in before:
        if entry["kind"] == entries.scratch_requested.name:
            ran = False
        elif entry["kind"] == entries.attempt_started.name:
            ran = True
    return not ran


def restore_point(run: Run, before: Iterable[Entry]) -> RestorePoint:
    """Find the newest good checkpoint of earlier attempts of a command.

    Args:
        before: the run's journal.
    """
    refused = []
    chosen = None
    found = checkpoints.scan(run.checkpoints)
    for checkpoint in found:
        reason = verify(checkpoint)
        if reason is None:
            chosen = checkpoint
            break
        refused.append(Refusal(checkpoint.name, reason))
    return RestorePoint(chosen, refused, frozenset(c.name for c in found), is_first(before))


def verify(checkpoint: Checkpoint) -> str | None:
    """Explain why a command's checkpoint cannot be used; None if it is good.

    A manifest is optional.
    """
    if not (checkpoint.path / checkpoints.MANIFEST).exists():
        return None if checkpoint.path.is_dir() else "it is not a directory"
    return checkpoints.verify(checkpoint)


def committed(run: Run, before: RestorePoint) -> Iterator[Entry]:
    """Build an entry for each checkpoint committed since ``before``, oldest first."""
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
