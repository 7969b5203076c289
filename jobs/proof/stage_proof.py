"""Begin the proof of a stage, and hold the job for a difference."""

from collections.abc import Callable, Iterable

from rekindle.jobs import environment
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.evidence.proof import Proof
from rekindle.jobs.proof.round_trip import Gap
from rekindle.jobs.saving.checkpoint_store import RestorePoint


def begin(session: Session, at: Progress, models: ModelState) -> Proof:
    """Record the steps of a stage that begins; nothing is compared."""
    proof = session.proof(at.stage, models.parts)
    proof.begin(at.step)
    return proof


def resume(
    session: Session,
    at: Progress,
    point: RestorePoint,
    repeated: int,
    models: ModelState,
    *,
    allowed: str | None,
    caveats: Callable[[], Iterable[str]],
    gaps: Callable[[], Iterable[Gap]],
) -> Proof:
    """Compare the steps that follow a checkpoint with those of the earlier attempts.

    Args:
        repeated: how many steps are repeated, as far as known.
        allowed: the change of the script that was allowed, in words.
        caveats: returns what cannot be restored exactly, as text.
        gaps: returns what was not restored.
    """
    changed = None
    if allowed is not None:
        changed = "a change of the script was allowed"
    elif point.new_code(session.job.new_code, session.attempt) is not None:
        changed = "the code was replaced"
    proof = session.proof(at.stage, models.parts)
    proof.resume(
        at.step,
        at.epoch,
        at.epoch_step,
        point.checkpoint.name if point.checkpoint else None,
        repeated,
        changed=changed,
        caveats=caveats,
        gaps=lambda: [(gap.group, str(gap)) for gap in gaps()],
        newer=point.instead_of.newer.position if point.instead_of else None,
    )
    return proof


def hold_if_different(proof: Proof, at: Progress) -> None:
    """End the process if a repeated step, or what was restored, differs and that is held.

    Call it before a save: its checkpoint would replace the last one from before the difference.
    """
    if proof.hold_if_different(at.epoch, at.step):
        shutdown.end(environment.EXIT_PERMANENT)
