"""Compare two trainings of one job bit by bit: variables, epochs, callbacks, files.

Only the size of a difference is computed from arrays, so that no numeric library is needed.
"""

import array
import json
import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.verify_resume.tensor_layout import Layout
from rekindle.daemon.verify_resume.trial import Training
from rekindle.state.json_difference import first_difference, shortened
from rekindle.state.run import checkpoints, digests, entries
from rekindle.state.run.checkpoints import Checkpoint, Position

_FLOATS: Final = {"F32": "f", "F64": "d"}
_AT_MOST: Final = 1 << 20
# parts of the state beside the arrays that must be equal, and their names for a person
_PARTS: Final = {
    "position": "position",
    "iterator": "position in the data",
    "evals": "position in the validation data",
    "stop_training": "stop_training",
    "logs": "metrics of the last batch",
    "random": "random state",
}
# Keras writes the address of an object into a model's configuration
_ADDRESS: Final = re.compile(rb'"shared_object_id": \d+')
_PASSED_OVER: Final = ("events.out.tfevents.",)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two trainings.

    Attributes:
        kind: variable, epoch, callback, random, state or file.
        name: the variable's path, ``epoch 3``, the callback's attribute, the file.
        detail: both values, or the size of the difference.
        checkpoint: the checkpoint that has it, empty for epochs and files.
    """

    kind: str
    name: str
    detail: str
    checkpoint: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name, which identify a difference in another comparison."""
        return self.kind, self.name


def compare(
    ours: Training, theirs: Training, before: dict[str, str] | None = None
) -> list[Difference]:
    """List all differences between two trainings, ordered by kind as in ``_ORDER``.

    Args:
        before: digests of the files in the working directories before the training; None to
            skip the comparison of files.
    """
    until = ours.end or theirs.end
    found = [*_finals(ours, theirs, until), *_epochs(ours, theirs, until)]
    found.sort(key=lambda difference: _ORDER.index(difference.kind))
    if before is not None and until is None:
        found += _files(ours.workdir, theirs.workdir, before)
    return found


_ORDER: Final = ("variable", "epoch", "callback", "random", "state", "file")


def files(workdir: Path) -> dict[str, str]:
    """Compute the digests of all regular files below a folder, by their path in it."""
    return {path: digests.digest(workdir / path) for path in _regular(workdir)}


def counted(training: Training) -> tuple[int, int]:
    """Count the arrays in the compared checkpoints, and the epochs that ended."""
    arrays = sum(
        len(Layout.read(c.state).entries) for c in _compared(training, training.end).values()
    )
    return arrays, len(_by_epoch(training, training.end))


# states


def _compared(training: Training, until: Position | None) -> dict[str, Checkpoint]:
    """Find the checkpoints at the ends of stages, and the one at ``until``."""
    found = {}
    for checkpoint in checkpoints.scan(training.run.checkpoints):
        if checkpoint.position == until or (
            checkpoint.position.end and (until is None or checkpoint.position < until)
        ):
            found[checkpoint.name] = checkpoint
    return dict(sorted(found.items(), key=lambda item: item[1].position))


def _finals(ours: Training, theirs: Training, until: Position | None) -> Iterator[Difference]:
    mine, others = _compared(ours, until), _compared(theirs, until)
    for name in mine.keys() ^ others.keys():
        yield Difference("state", "the end", f"only one training reached {name}", name)
    for name, checkpoint in mine.items():
        if name in others:
            yield from _states(name, Layout.read(checkpoint.state), Layout.read(others[name].state))


def of_checkpoints(ours: Checkpoint, theirs: Checkpoint) -> list[Difference]:
    """List all differences between the states of two checkpoints, ordered by kind."""
    found = list(_states(ours.name, Layout.read(ours.state), Layout.read(theirs.state)))
    return sorted(found, key=lambda difference: _ORDER.index(difference.kind))


def _states(at: str, ours: Layout, theirs: Layout) -> Iterator[Difference]:
    state, other = (json.loads(layout.metadata["state"]) for layout in (ours, theirs))
    names = _names(state)
    dropped = "dropped" in state or "dropped" in other
    for key in ours.differing(theirs):
        kind, name = names.get(key, ("state", key))
        if key.startswith("live/"):
            continue  # the state at the begin of a pass: the state after it is compared
        if dropped and not (key in ours.entries and key in theirs.entries):
            continue  # weights that one training has dropped, within its limit
        yield Difference(kind, name, _size(key, ours, theirs), at)
    for key, words in _PARTS.items():
        place = first_difference(state.get(key), other.get(key))
        if place is not None:
            yield Difference(
                "random" if key == "random" else "state",
                ".".join([words, *place[0]]),
                f"{place[1]} and {place[2]}",
                at,
            )
    for (name, mine), (other_name, others) in zip(
        state.get("callbacks", []), other.get("callbacks", []), strict=False
    ):
        place = first_difference(mine, others)
        if name != other_name:
            yield Difference("callback", name, f"is {other_name} in the other training", at)
        elif place is not None:
            path = [part for part in place[0] if part not in ("attributes", "own")]
            yield Difference("callback", ".".join([name, *path]), f"{place[1]} and {place[2]}", at)


def _names(state: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Map the key of each array to its kind and its name for a person."""
    names: dict[str, tuple[str, str]] = {}
    for group, described in state.get("variables", {}).items():
        prefix = "" if group == "model" else f"{group}: "
        for index, (path, _, _) in enumerate(described):
            names[f"{group}/{index:05d}"] = ("variable", f"{prefix}{path}")
    for _, name, key in state.get("random", {}).get("seeds", []):
        names[key] = ("random", f"seed generator {name}")
    for index, (name, kept) in enumerate(state.get("callbacks", [])):
        for attribute, value in kept.get("attributes", {"state_dict": kept.get("own")}).items():
            for key in _array_keys(value):
                names[key] = ("callback", f"{name}.{attribute}")
        names[f"callbacks/{index:02d}"] = ("callback", name)
    for part in ("python", "numpy", "eager"):
        for key in _array_keys(state.get("random", {}).get(part)):
            names[key] = ("random", f"{part}'s random state")
    return names


def _array_keys(value: Any) -> Iterator[str]:
    """Yield the keys of arrays that an encoded value refers to."""
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and "/" in value[0]:
            yield value[0]
        for item in value:
            yield from _array_keys(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _array_keys(item)


def _size(key: str, ours: Layout, theirs: Layout) -> str:
    mine, others = ours.entries.get(key), theirs.entries.get(key)
    if mine is None or others is None:
        return "exists in one training only"
    if (mine.shape, mine.dtype) != (others.shape, others.dtype):
        return f"{mine.dtype}{list(mine.shape)} and {others.dtype}{list(others.shape)}"
    a, b = ours.data(key), theirs.data(key)
    kind = _FLOATS.get(mine.dtype)
    width = max(len(a) // max(math.prod(mine.shape), 1), 1)
    if kind is None or len(a) > _AT_MOST * width:
        differing = sum(
            a[i : i + width] != b[i : i + width]
            for i in range(0, min(len(a), _AT_MOST * width), width)
        )
        return f"{differing} of {math.prod(mine.shape)} elements differ"
    left, right = array.array(kind, a), array.array(kind, b)
    gaps = [abs(x - y) for x, y in zip(left, right, strict=True) if x != y]
    largest = max(gaps, default=0.0)
    return f"{len(gaps)} of {math.prod(mine.shape)} elements differ, by {largest:.3g} at most"


# epochs


def _by_epoch(training: Training, until: Position | None) -> dict[tuple[int, int], Any]:
    """Read the metrics of each epoch at its last end: a kill makes an epoch end twice."""
    found = {}
    for entry in training.entries(entries.epoch_ended):
        if until is None or entry["step"] <= until.step:
            found[entry["stage"], entry["epoch"]] = {"step": entry["step"], **entry["logs"]}
    return dict(sorted(found.items()))


def _epochs(ours: Training, theirs: Training, until: Position | None) -> Iterator[Difference]:
    mine, others = _by_epoch(ours, until), _by_epoch(theirs, until)
    stages = any(stage for stage, _ in mine)
    for stage, epoch in sorted(mine.keys() | others.keys()):
        name = f"epoch {epoch}" + (f" of stage {stage}" if stages else "")
        a, b = mine.get((stage, epoch)), others.get((stage, epoch))
        if a is None or b is None:
            yield Difference("epoch", name, "ended in one training only")
            continue
        differing = [
            f"{key} {a.get(key)} and {b.get(key)}"
            for key in [*a, *(k for k in b if k not in a)]
            if first_difference(a.get(key), b.get(key)) is not None
        ]
        if differing:
            yield Difference("epoch", name, ", ".join(differing))


# files


def _regular(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and "__pycache__" not in path.parts
        and not path.name.startswith(_PASSED_OVER)
    )


def _files(ours: Path, theirs: Path, before: dict[str, str]) -> Iterator[Difference]:
    mine, others = files(ours), files(theirs)
    for name in sorted(mine.keys() | others.keys()):
        a, b = mine.get(name), others.get(name)
        if a == b or (a == before.get(name) and b == before.get(name)):
            continue
        if a is None or b is None:
            yield Difference("file", name, "was written by one training only")
            continue
        detail = _content(ours / name, theirs / name)
        if detail is not None:
            yield Difference("file", name, detail)


def _content(ours: Path, theirs: Path) -> str | None:
    """Describe how two files differ; None if only a time noted in them does."""
    if ours.suffix == ".keras" and zipfile.is_zipfile(ours) and zipfile.is_zipfile(theirs):
        with zipfile.ZipFile(ours) as mine, zipfile.ZipFile(theirs) as others:
            names = sorted({*mine.namelist(), *others.namelist()} - {"metadata.json"})
            differing = [
                name
                for name in names
                if name not in mine.namelist()
                or name not in others.namelist()
                or _ADDRESS.sub(b"", mine.read(name)) != _ADDRESS.sub(b"", others.read(name))
            ]
        return f"{differing[0]} in it differs" if differing else None
    a, b = ours.read_bytes(), theirs.read_bytes()
    try:
        lines, other_lines = a.decode().splitlines(), b.decode().splitlines()
    except UnicodeDecodeError:
        return f"{len(a)} and {len(b)} bytes, which differ"
    for number, (line, other) in enumerate(zip(lines, other_lines, strict=False), 1):
        if line != other:
            return f"line {number}: {shortened(line)} and {shortened(other)}"
    return f"{len(lines)} and {len(other_lines)} lines"
