"""Which checkpoint of a run a person means: the last, the best, or that after some epochs."""

from typing import Any

from rekindle.state.errors import NotFound
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, journal
from rekindle.state.run.checkpoints import Checkpoint


def last(run: Run) -> Checkpoint:
    """The newest good one.

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
            hint="One is there once its training has begun.",
        )
    return found.checkpoint


def best(run: Run) -> Checkpoint:
    """The one with the best value of the spec's ``monitor``.

    Raises:
        NotFound: there is none, or it is not good any more.
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
        f"The best checkpoint, {name}, is not there any more.",
        where=run.checkpoints,
        hint="It may have been put into quarantine; `rekindle show` tells why.",
    )


def after_epoch(run: Run, epochs: int) -> Checkpoint:
    """The one that was taken when ``epochs`` were finished, of the newest stage that has one.

    Raises:
        NotFound: none was taken there, or it is pruned.
    """
    ends = {
        (e.get("stage") or 0, e["step"]): e["epoch"] + 1
        for e in entries.epoch_ended.among(journal.replay(run.journal).entries)
    }
    kept: dict[int, Checkpoint] = {}
    for checkpoint in checkpoints.scan(run.checkpoints):
        at = checkpoint.position
        finished = 0 if at.step == 0 else ends.get((at.stage, at.step))
        # the end of a stage has the state of its last epoch, with the best weights put back
        # where the script asked for that: it comes only where there is no other
        if finished == at.epoch and (finished not in kept or kept[finished].position.end):
            kept[finished] = checkpoint
    if epochs in kept:
        return _good(kept[epochs])
    there = ", ".join(str(number) for number in sorted(kept)) or "none"
    raise NotFound(
        f"The job {run.id} has no checkpoint after {epochs} epochs.",
        where=run.checkpoints,
        hint=f"There are ones after: {there}. `keep` in the spec says how many stay.",
    )


def logs(run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    """The metrics of the epoch that it was taken after; else of the batches before it."""
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
            hint="Choose another one.",
        )
    return checkpoint
