"""Records of stages of a run, read from the journal and the checkpoints on disk."""

import json
from collections.abc import Iterable
from dataclasses import replace

from rekindle.jobs.job import Extension, Fork, Job
from rekindle.jobs.stages.decision import Record
from rekindle.jobs.stages.key import Entry, StageKey, Way
from rekindle.state.run import entries as kinds
from rekindle.state.run.checkpoints import Checkpoint


def of_job(
    job: Job, attempt: int, entries: Iterable[kinds.Entry], existing: Iterable[Checkpoint]
) -> dict[int, Record]:
    """Read what earlier attempts of a job have recorded; arguments as of :func:`read`."""
    replaced = job.new_code.attempt if job.new_code is not None else None
    return read(
        entries,
        existing,
        attempt,
        accepted=job.allow_change,
        new_code_from=replaced,
        extension=job.extension,
        fork=job.fork,
    )


def read(
    entries: Iterable[kinds.Entry],
    existing: Iterable[Checkpoint],
    attempt: int,
    *,
    accepted: bool = False,
    new_code_from: int | None = None,
    extension: Extension | None = None,
    fork: Fork | None = None,
) -> dict[int, Record]:
    """Read what earlier attempts have recorded of each stage, by number.

    Args:
        entries: of the whole journal.
        existing: checkpoints on disk, which also tell of stages of an older version.
        attempt: number of the attempt that begins now.
        accepted: a person has accepted changes of the script. That is for the attempts before the
            last one that a person has started, not for good.
        new_code_from: the first attempt that runs the newest code; None where it was not replaced.
        extension: lets the last stage train on after an end, which then is none.
        fork: the same, after the end that the job was forked from.
    """
    found: dict[int, Record] = {}
    active: dict[int, int] = {}  # attempt in which each stage was last begun or resumed
    recorded: dict[int, int] = {}
    requested = attempt
    keys: dict[str, StageKey | None] = {}
    for entry in entries:
        kind, stage = entry["kind"], entry.get("stage") or 0
        number = entry.get("attempt") or 0
        if kind == "scratch_requested":
            found.clear()
            active.clear()
        elif kind == "state_changed" and entry.get("was") in kinds.LEFT_ON_REQUEST:
            requested = 0
        elif kind == "attempt_started" and requested == 0:
            requested = number
        elif kind in ("stage_begun", "resumed"):
            _leave(found, active, stage, number)
            active[stage] = number
            known = found.setdefault(stage, Record(stage))
            if kind == "stage_begun":
                recorded[stage] = number
                begun = Entry.parse(entry.get("entry"))
                found[stage] = replace(
                    known,
                    key=_key(entry.get("key"), keys),
                    entry=begun,
                    way=Way.parse(entry.get("way")),
                    origin=begun if number == 0 else known.origin,
                    forked=number == 0,
                )
        elif kind == "stage_ended" and not _reopens(extension, stage, entry.get("epoch")):
            step = max(entry.get("step") or 0, 0)
            known = found.setdefault(stage, Record(stage))
            found[stage] = replace(known, ended=True, left=False, step=step)
    for checkpoint in existing:
        at = checkpoint.position
        known = found.setdefault(at.stage, Record(at.stage))
        if fork is not None and fork.end and checkpoint.name == fork.checkpoint:
            continue
        if at.end and not _reopens(extension, at.stage, at.epoch):
            found[at.stage] = replace(known, ended=True, left=False, step=max(known.step, at.step))
    for stage, record in found.items():
        before = recorded.get(stage, 0)
        allowed = (accepted and before < (requested or attempt)) or (
            new_code_from is not None and before < new_code_from
        )
        found[stage] = replace(record, accepted=allowed)
    return found


def _reopens(extension: Extension | None, stage: int, epoch: object) -> bool:
    return extension is not None and isinstance(epoch, int) and extension.reopens(stage, epoch)


def _key(value: object, keys: dict[str, StageKey | None]) -> StageKey | None:
    """Read a key, one object for equal ones: hundreds of stages may have the same."""
    text = json.dumps(value, sort_keys=True)
    if text not in keys:
        keys[text] = StageKey.parse(value)
    return keys[text]


def _leave(found: dict[int, Record], active: dict[int, int], stage: int, attempt: int) -> None:
    """Mark the open stages of an attempt as left: it has gone on to another stage."""
    for other, when in active.items():
        if other != stage and when == attempt and not found[other].ended:
            found[other] = replace(found[other], left=True)
