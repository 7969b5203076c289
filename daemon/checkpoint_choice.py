"""Find the checkpoint of a run that a person means: the last, the best or one after an epoch."""

from typing import Any, Final

from rekindle.state.counted import counted, few
from rekindle.state.errors import NotFound
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, journal
from rekindle.state.run.checkpoints import Checkpoint

_NAMED: Final = 8


def last(run: Run) -> Checkpoint:
    """Find the newest good checkpoint.

    Raises:
        NotFound: there is none.
    """
    found = checkpoints.latest_good(run.checkpoints)
    if found.checkpoint is None:
        bad = found.refused[0] if found.refused else None
        raise NotFound(
            f"The job {run.id} has no good checkpoint."
            + (f" The newest, {bad.name}: {bad.reason}." if bad else ""),
            where=run.checkpoints,
            hint="The first one is saved when its training begins.",
        )
    return found.checkpoint


def best(run: Run) -> Checkpoint:
    """Find the checkpoint with the best value of the spec's ``monitor``.

    Raises:
        NotFound: there is none, or it is not good.
    """
    monitor = last(run).read_manifest().get("monitor") or {}
    name = monitor.get("best_name")
    if not name:
        raise NotFound(
            f"The job {run.id} has no best checkpoint.",
            hint='It needs [checkpoint] monitor = "val_loss" in its spec, and an '
            "epoch that has ended.",
        )
    for checkpoint in checkpoints.scan(run.checkpoints):
        if checkpoint.name == name:
            return _good(checkpoint)
    raise NotFound(
        f"The best checkpoint, {name}, no longer exists.",
        where=run.checkpoints,
        hint=f"It may be in quarantine; `rekindle show {run.id}` then says why.",
    )


def named(run: Run, name: str) -> Checkpoint:
    """Find a checkpoint by its name.

    Raises:
        NotFound: there is none, it was pruned, or it is not good.
    """
    existing = checkpoints.scan(run.checkpoints)
    for checkpoint in existing:
        if checkpoint.name == name:
            return _good(checkpoint)
    raise NotFound(
        f"The job {run.id} has no checkpoint {name}.",
        where=run.checkpoints,
        hint=f"It has {few([one.name for one in existing], _NAMED) or 'none'}. "
        "`keep` in the spec says how many are kept.",
    )


def after_epoch(run: Run, epochs: int, *, only_newest_stage: bool = False) -> Checkpoint:
    """Find the checkpoint after ``epochs`` epochs, in the newest stage that has one.

    Args:
        only_newest_stage: not in earlier ones, whose epochs are others.

    Raises:
        NotFound: none was saved there, or it was pruned.
    """
    ends = {
        (e.get("stage") or 0, e["step"]): e["epoch"] + 1
        for e in entries.epoch_ended.among(journal.replay(run.journal).entries)
    }
    kept: dict[int, Checkpoint] = {}
    existing = checkpoints.scan(run.checkpoints)
    if only_newest_stage:
        existing = [one for one in existing if one.position.stage == existing[0].position.stage]
    for checkpoint in existing:
        at = checkpoint.position
        finished = 0 if at.step == 0 else ends.get((at.stage, at.step))
        # the end of a stage has the state of its last epoch, or the restored best weights if the
        # script asked for them: it is used only if there is no other
        if finished == at.epoch and (finished not in kept or kept[finished].position.end):
            kept[finished] = checkpoint
    if epochs in kept:
        return _good(kept[epochs])
    numbers = ", ".join(str(number) for number in sorted(kept)) or "none"
    raise NotFound(
        f"The job {run.id} has no checkpoint after {counted(epochs, 'epoch')}.",
        where=run.checkpoints,
        hint=f"Checkpoints exist after: {numbers}. `keep` in the spec says how many are kept.",
    )


def logs(run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the metrics of the epoch that a checkpoint ends, else of the batches before it."""
    at = checkpoint.position
    for entry in entries.epoch_ended.among(reversed(journal.replay(run.journal).entries)):
        place = (entry.get("stage") or 0, entry["epoch"] + 1, entry["step"])
        if place == (at.stage, at.epoch, at.step):
            return dict(entry["logs"])
    return dict(checkpoint.read_manifest().get("logs") or {})


def _good(checkpoint: Checkpoint) -> Checkpoint:
    reason = checkpoints.verify(checkpoint)
    if reason is not None:
        raise NotFound(
            f"The checkpoint {checkpoint.name} is not good: {reason}.",
            where=checkpoint.path,
            hint="Choose another checkpoint.",
        )
    return checkpoint
