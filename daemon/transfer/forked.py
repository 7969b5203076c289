"""Begin a run with the checkpoint of another one: link what it needs, and take over its history.

It touches folders only. The other run is read and never written: its files are linked, and no
process ever writes into a committed file, so that either run may remove its own names.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rekindle.daemon import checkpoint_choice
from rekindle.state import durable
from rekindle.state.errors import NotDone
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, journal, kept_files
from rekindle.state.run.checkpoints import Checkpoint, Position
from rekindle.state.run.entries import Entry

_TRIES: Final = 5
"""The other job may train meanwhile, and remove checkpoints while they are linked."""


def prepare(parent: Run, new: Run, which: int | str | None) -> Position:
    """Fill a new run directory with what the fork begins with; return where that is.

    Args:
        which: finished epochs of the newest stage, or the name of a checkpoint; None for the
            newest one.

    Raises:
        NotFound: there is no such checkpoint, or none that is good.
        NotDone: it is the end of a loop, which cannot train on.
        OSError: the home cannot be written.
    """
    for number in range(1, _TRIES + 1):
        chosen = _choose(parent, which)
        _refuse_end_of_loop(parent, chosen)
        shutil.rmtree(new.root, ignore_errors=True)
        new.checkpoints.mkdir(parents=True)
        new.root.chmod(0o750)
        try:
            names = _link_checkpoints(parent, new, chosen.position)
            break
        except FileNotFoundError:
            if number == _TRIES:
                raise
    if parent.architecture.exists():
        shutil.copyfile(parent.architecture, new.architecture)
    history = _history(journal.replay(parent.journal).entries, chosen.position, names)
    new.journal.write_bytes(b"".join(journal.encode(entry) for entry in history))
    durable.fsync_all(_all_below(new.root))
    return chosen.position


def _choose(parent: Run, which: int | str | None) -> Checkpoint:
    if which is None:
        return checkpoint_choice.last(parent)
    if isinstance(which, str):
        return checkpoint_choice.named(parent, which)
    return checkpoint_choice.after_epoch(parent, which, only_newest_stage=True)


def _refuse_end_of_loop(parent: Run, chosen: Checkpoint) -> None:
    at = chosen.position
    if not at.end:
        return
    for entry in entries.stage_begun.among(journal.replay(parent.journal).entries):
        if (entry.get("stage") or 0) == at.stage and entry["key"].get("kind") == "loop":
            raise NotDone(
                f"{chosen.name} is the end of a loop of the script's own, which has nothing left "
                "to train.",
                hint=f"`rekindle show {parent.id}` lists its checkpoints; fork after an earlier "
                f"epoch: `rekindle fork {parent.id}:{max(at.epoch - 1, 0)}`.",
            )


def _link_checkpoints(parent: Run, new: Run, at: Position) -> set[str]:
    """Link the checkpoint, older ones, and the ends of earlier stages; return their names."""
    taken = [one for one in checkpoints.scan(parent.checkpoints) if one.position <= at]
    if at not in [one.position for one in taken]:
        raise FileNotFoundError(at.name)
    for checkpoint in taken:
        folder = new.checkpoints / checkpoint.name
        folder.mkdir()
        for file in checkpoint.path.iterdir():
            _link(file, folder / file.name)
    for digest in kept_files.needed(
        Checkpoint(new.checkpoints / c.name, c.position) for c in taken
    ):
        copy = parent.kept_files / digest
        if copy.exists():
            new.kept_files.mkdir(exist_ok=True)
            _link(copy, new.kept_files / digest)
    return {one.name for one in taken}


def _link(source: Path, target: Path) -> None:
    """Link a file that nobody writes any more, or copy it where links are impossible."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def _history(known: list[Entry], at: Position, names: set[str]) -> Iterator[Entry]:
    """Yield what the other run has recorded up to the checkpoint, as of attempt 0."""
    begin = max(
        (index for index, one in enumerate(known) if one["kind"] == "scratch_requested"), default=0
    )
    machine: Entry | None = None
    for entry in known[begin:]:
        kind, stage = entry["kind"], entry.get("stage") or 0
        if kind == entries.provenance.name:
            machine = entry
        elif (
            (kind == entries.stage_begun.name and stage <= at.stage)
            or (kind == entries.stage_ended.name and stage < at.stage)
            or (kind == entries.checkpoint_committed.name and entry["name"] in names)
            or (
                kind == entries.epoch_ended.name
                and (stage < at.stage or (stage == at.stage and entry["epoch"] < at.epoch))
            )
        ):
            yield _of_parent(entry)
    if machine is not None:
        yield _of_parent(machine)


def _of_parent(entry: Entry) -> dict[str, Any]:
    return {**entry, "attempt": 0}


def _all_below(root: Path) -> list[Path]:
    """List files and folders, the folders after what is in them."""
    found: list[Path] = []
    for folder, _, files in os.walk(root, topdown=False):
        found += [Path(folder) / name for name in files]
        found.append(Path(folder))
    return found
