"""Choose an older checkpoint to resume from where the newest is too near to prove anything.

Under ``every = "auto"`` a kill may come one step after a save: the relaunch would repeat one step,
and prove next to nothing. It is resumed from the checkpoint before then, once for each newest one
and only where that is sure to cost little: everything else is as if the newest were damaged.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from rekindle.jobs.attempt.run_history import RunHistory
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.evidence.proof import open_record
from rekindle.jobs.evidence.step_record import Evidence
from rekindle.jobs.files import csv_rows
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.saving.checkpoint_store import Older
from rekindle.jobs.saving.kept_files import Record
from rekindle.state.paths import Run
from rekindle.state.run import tensors
from rekindle.state.run.checkpoints import Checkpoint
from rekindle.state.run.training_state import TrainingState

MOST_S: Final = 120.0
"""Longest training in seconds that is repeated for a proof: twice the longest wait for the first
save of a relaunch (:data:`cadence.FIRST`). A slow disk spaces saves by minutes; to repeat ten
minutes for eight steps would be noticed, and the next kill would come in the middle of it."""


def choose(session: Session, stage: int, policy: CheckpointPolicy) -> Older | None:
    """Return the checkpoint to resume a stage from in place of the newest; None for the newest.

    Args:
        policy: of the stage; the script may have set its own.
    """
    job, past = session.job, session.history
    found = session.store.of_stage(stage)
    if (
        not _is_wanted(job, policy)
        or not _may_repeat(past, stage)
        or session.exports
        or session.has_changed
        or len(found) < 2
        or found[0].position.end
        or found[0].name in past.passed_over
        or session.store.all()[0].position.stage != stage
    ):
        return None
    record = open_record(session.run, job, past.proofs.scratches)
    if record is None:
        return None
    least, newest = job.checkpoint.prove_steps, found[0]
    evidence = record.evidence(stage)
    furthest = evidence[-1].step if evidence else -1
    if not 0 < furthest - newest.position.step < least:
        return None
    for one in found[1:]:
        if one.position.end or one.position.step <= past.begun.get(stage, 0):
            return None  # the beginning proves nothing about what a relaunch restores
        if comparable(evidence, one.position.step) < least:
            continue
        if not _is_near(past, one, session.store.all()):
            return None
        try:
            usable = _is_of_this_code(job, one) and _puts_all_back(session.run, job, one, newest)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            usable = False  # a damaged one, or one of another version
        return Older(one, newest, least) if usable else None
    return None


def comparable(evidence: Sequence[Evidence], after: int) -> int:
    """Count the steps after a checkpoint with something to compare.

    Args:
        evidence: the entries of the stage, by step; that of an execution counts for all its steps.
    """
    width = min((b.step - a.step for a, b in itertools.pairwise(evidence)), default=1)
    last = max((one.step for one in evidence if one.digest is not None), default=-1)
    # without logs a step is proved by the digest after a later one
    seen = [one for one in evidence if one.logs is not None or one.step <= last]
    return width * sum(one.step > after for one in seen)


def _is_wanted(job: Job, policy: CheckpointPolicy) -> bool:
    every = (policy.every_epochs, policy.every_steps, policy.every_seconds)
    # a change that was allowed leaves nothing to compare
    return every == (None, None, None) and job.checkpoint.prove_steps > 0 and not job.allow_change


def _may_repeat(past: RunHistory, stage: int) -> bool:
    """Return whether the stage was cut off by a failure, and not for such a resume just before.

    A difference that a person has accepted stays accepted until the next checkpoint only.
    """
    accepted = past.proofs.accepted
    return past.cut_off and past.last == stage and stage not in past.left and not accepted


def _is_near(past: RunHistory, one: Checkpoint, existing: Iterable[Checkpoint]) -> bool:
    """Return whether what would be repeated takes a short time, by two clocks."""
    at = one.position
    steps, seconds = past.repeated(at.stage, at.step, one, existing)
    return 0 < max(seconds, steps * (past.pace or 0.0)) <= MOST_S


def _is_of_this_code(job: Job, one: Checkpoint) -> bool:
    """Return whether this job saved it, with the code and the plan of now.

    Raises:
        OSError, ValueError, LookupError, TypeError: its manifest does not say.
    """
    first = max(
        1,
        0 if job.new_code is None else job.new_code.attempt,
        0 if job.extension is None else job.extension.attempt,
    )
    return int(one.read_manifest()["attempt"]) >= first


def _puts_all_back(run: Run, job: Job, older: Checkpoint, newest: Checkpoint) -> bool:
    """Return whether the files of the script can be put back as of either checkpoint.

    The next attempt may resume from the newest one again, if this one is killed before that.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError: a state cannot be read.
    """
    states = [_state(one) for one in (older, newest)]
    files: list[dict[str, Record | None]] = [
        {str(value["path"]): Record.of(value) for value in state.get("files", [])}
        for state in states
    ]
    return (
        # events are cut back, and are nowhere else
        not any("files" in saved for state in states for _, saved in state.get("callbacks", []))
        # a file that began between the two would have rows of the repeated steps twice
        and files[0].keys() == files[1].keys()
        and all(_is_kept(run, record) for known in files for record in known.values())
        and not any(_has_other_rows(run, job, record) for record in files[0].values())
    )


def _is_kept(run: Run, record: Record | None) -> bool:
    return (
        record is not None
        and record.kept
        and record.sha256 is not None
        and (run.kept_files / record.sha256).exists()
    )


def _has_other_rows(run: Run, job: Job, record: Record | None) -> bool:
    """Return whether a log has rows of another job, which a copy would not have."""
    assert record is not None
    target = Path(job.workdir, record.path)
    if not csv_rows.is_log(target) or target.stat().st_size <= record.bytes:
        return False
    return csv_rows.cut(target, record.bytes, csv_rows.epochs(run.journal), change=False).kept > 0


def _state(checkpoint: Checkpoint) -> TrainingState:
    state: TrainingState = json.loads(tensors.load_metadata(checkpoint.state)["state"])
    return state
