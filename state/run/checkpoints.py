"""Commit checkpoints by one rename, verify them by digest, find the last good one.

A checkpoint is a directory ``e0007-s00001400`` with ``manifest.json`` and the files that it
lists. It is written under a temporary name, every file is fsynced and digested (SHA-256: it
needs only the standard library, and ``sha256sum`` can check it), the manifest is written last,
and one rename commits it. The latest is found by scanning and verifying; no pointer file is
trusted.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekindle.state import crash_points, durable
from rekindle.state.run import digests, reading

if TYPE_CHECKING:
    from threading import Event

FORMAT = 2
"""Format of manifests: in 2 a large file has a digest of its chunks; 1 is still written else."""
MANIFEST = "manifest.json"
STATE = "state.safetensors"
REDUCED = "state-reduced.safetensors"
"""The state of a finished stage whose weights were dropped."""
NON_FINITE = "it holds non-finite variables"
_NAME = re.compile(r"e(\d{4,15})-s(\d{8,15})(?:-f(\d{1,9}))?(-end)?", re.ASCII)


@total_ordering
@dataclass(frozen=True, slots=True)
class Position:
    """Position in a run at which a checkpoint was taken.

    Attributes:
        stage: number of the ``fit`` call or loop in the script, 0-based.
        epoch: epochs finished in this stage; the ``initial_epoch`` of a resume.
        step: batches trained in the whole run, over all stages.
        end: the state is that at the end of the stage.
    """

    stage: int
    epoch: int
    step: int
    end: bool = False

    @property
    def name(self) -> str:
        """Name of the checkpoint's directory."""
        stage = f"-f{self.stage}" if self.stage else ""
        return f"e{self.epoch:04d}-s{self.step:08d}{stage}{'-end' if self.end else ''}"

    @classmethod
    def parse(cls, name: str) -> "Position | None":
        """Read the position from a directory's name; None if it does not name a checkpoint."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        epoch, step, stage, end = match.groups()
        return cls(int(stage or 0), int(epoch), int(step), end is not None)

    def __lt__(self, other: "Position") -> bool:
        # stage before step: a stage may be repeated from an older checkpoint, with fewer steps
        return (self.stage, self.step, self.epoch, self.end) < (
            other.stage,
            other.step,
            other.epoch,
            other.end,
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A committed directory, not necessarily verified."""

    path: Path
    position: Position

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    @property
    def state(self) -> Path:
        """File with the training state."""
        return self.path / (REDUCED if self.is_reduced else STATE)

    @property
    def is_reduced(self) -> bool:
        """True if its weights were dropped; see :func:`reduce`."""
        return (self.path / REDUCED).exists() and not (self.path / STATE).exists()

    @property
    def bytes(self) -> int:
        """Total size of its files on disk."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())

    def read_manifest(self) -> dict[str, Any]:
        """Read the manifest.

        Raises:
            ValueError: it is not JSON of a known format.
            OSError: it cannot be read.
        """
        manifest = reading.parse_json(reading.read_bytes(self.path / MANIFEST))
        if (
            not isinstance(manifest, dict)
            or not isinstance(manifest.get("files"), dict)
            or not isinstance(manifest.get("format", 0), int)
        ):
            raise ValueError("the manifest has an unknown format")
        if manifest.get("format", 0) > FORMAT:
            raise ValueError(f"the manifest has a newer format ({manifest['format']})")
        return manifest


@dataclass(frozen=True, slots=True)
class Refusal:
    """A checkpoint that cannot be used, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """The newest good checkpoint, and the newer ones that were refused."""

    checkpoint: Checkpoint | None
    refused: list[Refusal]


def commit(
    folder: Path,
    position: Position,
    write: Callable[[Path], Mapping[str, Mapping[str, Any]] | None],
    manifest: dict[str, Any],
    *,
    crash_point: Callable[[str], None] = crash_points.reached,
) -> Checkpoint:
    """Write a checkpoint so that it exists completely or not at all.

    Args:
        folder: the run's ``checkpoints`` directory.
        write: writes the files into the temporary directory that it is called with; returns size
            and digest of those that it has made durable.
        manifest: what to record beside format, name, position and digests.
        crash_point: called with a name before each step, for tests that kill there.

    Returns:
        The checkpoint. An existing good one of this name is kept: equal positions of one run
        hold equal states.

    Raises:
        OSError: the disk is full or failing; the temporary directory is removed.
    """
    final = folder / position.name
    existing = Checkpoint(final, position)
    if final.exists():
        reason = verify(existing)
        if reason is None:
            return existing
        quarantine(existing, reason)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".tmp-{position.name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        crash_point("before_write")
        described = write(temporary) or {}
        crash_point("before_digest")
        files = {}
        for file in sorted(temporary.iterdir()):
            files[file.name] = described.get(file.name) or digests.flush_and_describe(file)
        record = {
            **manifest,
            "format": _format_of(files),
            "name": position.name,
            "stage": position.stage,
            "epoch": position.epoch,
            "step": position.step,
            "end": position.end,
            "created": time.time(),
            "files": files,
        }
        crash_point("before_manifest")
        durable.write_json(temporary / MANIFEST, record)
        durable.fsync_folder(temporary)
        crash_point("before_rename")
        os.rename(temporary, final)
        crash_point("before_folder_fsync")
        durable.fsync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return existing


def scan(folder: Path) -> list[Checkpoint]:
    """List all committed checkpoints of a run, newest first, unverified."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    found = []
    for entry in entries:
        position = Position.parse(entry.name)
        if position is not None:
            found.append(Checkpoint(folder / entry.name, position))
    return sorted(found, key=lambda checkpoint: checkpoint.position, reverse=True)


def verify(checkpoint: Checkpoint, *, ended: "Event | None" = None) -> str | None:
    """Explain why a checkpoint cannot be used; None if it is good.

    It checks the manifest, that the variables were finite when it was written, and the size and
    digest of each listed file.

    Args:
        ended: the result is wanted no longer once it is set; it is then an arbitrary reason.
    """
    try:
        manifest = checkpoint.read_manifest()
    except FileNotFoundError:
        return "its manifest is missing"
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({error})"
    if manifest.get("name") != checkpoint.name:
        return f"its manifest belongs to {manifest.get('name')}"
    if not manifest["files"]:
        return "its manifest lists no files"
    if manifest.get("finite") is False:
        return NON_FINITE  # no need to read gigabytes
    for name, expected in manifest["files"].items():
        if "/" in name or name.startswith("."):
            return f"its manifest lists a file outside of it ({name})"
        file = checkpoint.path / name
        try:
            info = file.lstat()
            if not stat.S_ISREG(info.st_mode):
                return f"{name} is not a regular file"  # a FIFO would block the reader
            size = info.st_size
            if size != expected["bytes"]:
                return f"{name} has {size} bytes instead of {expected['bytes']}"
            kind = "chunks" if "chunks" in expected else "sha256"
            if digests.describe(file, chunks=kind == "chunks", ended=ended)[kind] != expected[kind]:
                return f"{name} does not match its digest in the manifest"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        except (KeyError, TypeError, IndexError):
            return f"its manifest has no size and digest for {name}"
        except ValueError:
            return f"its manifest lists an invalid file name ({name!r})"
    return None


def latest_good(folder: Path) -> Found:
    """Find the newest checkpoint that verifies."""
    refused: list[Refusal] = []
    for checkpoint in scan(folder):
        reason = verify(checkpoint)
        if reason is None:
            return Found(checkpoint, refused)
        refused.append(Refusal(checkpoint.name, reason))
    return Found(None, refused)


def quarantine(checkpoint: Checkpoint, reason: str) -> Path:
    """Move a refused checkpoint to ``quarantine/`` with the reason beside it; return the path."""
    shelf = checkpoint.path.parent / "quarantine"
    shelf.mkdir(exist_ok=True)
    for n in range(1, 10_000):
        target = shelf / (checkpoint.name if n == 1 else f"{checkpoint.name}.{n}")
        if not target.exists():
            break
    os.rename(checkpoint.path, target)
    durable.write_bytes(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n".encode())
    durable.fsync_folder(shelf)
    durable.fsync_folder(checkpoint.path.parent)
    return target


def prune(
    folder: Path,
    keep: int,
    protected: Collection[str],
    *,
    stage: int | None = None,
    verdicts: MutableMapping[str, str | None] | None = None,
) -> Iterator[Checkpoint]:
    """Remove the checkpoints that :func:`surplus` names; yield each removed one.

    Args:
        stage: the stage that was just saved; see :func:`surplus`.
        verdicts: cache of :func:`verify` by name. Reading gigabytes again after each save would
            cost more than the save.
    """
    known: MutableMapping[str, str | None] = {} if verdicts is None else verdicts

    def judge(checkpoint: Checkpoint) -> str | None:
        if checkpoint.name not in known:
            known[checkpoint.name] = verify(checkpoint)
        return known[checkpoint.name]

    for checkpoint in surplus(scan(folder), keep, protected, judge, stage=stage):
        # the rename removes it in one step: a crash must not leave half a checkpoint
        doomed = folder / f".tmp-{checkpoint.name}-pruned-{os.getpid()}"
        os.rename(checkpoint.path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        known.pop(checkpoint.name, None)
        yield checkpoint


def surplus(
    newest_first: Iterable[Checkpoint],
    keep: int,
    protected: Collection[str],
    judge: Callable[[Checkpoint], str | None],
    *,
    stage: int | None = None,
) -> Iterator[Checkpoint]:
    """Name the checkpoints that need not be kept.

    Kept are the newest ``keep`` good ones, the ``protected`` names, the end of each finished
    stage (a relaunch returns its History from it), and the newest good one of a stage without a
    good end (an exception that the script caught may have ended it, and a relaunch must reach
    that exception). ``keep`` non-finite ones, which no resume uses, are kept for inspection.

    Args:
        judge: why a checkpoint cannot be used, or None; called no more often than needed.
        stage: later stages than this are kept: a relaunch may repeat an earlier stage, and its
            new checkpoints are older by position than theirs.
    """
    good = non_finite = 0
    ends: dict[int, Checkpoint] = {}
    provided: set[int] = set()
    for checkpoint in newest_first:
        at = checkpoint.position
        if stage is not None and at.stage > stage:
            continue
        if at.end:
            ends[at.stage] = checkpoint
        if good >= keep:
            if at.end or checkpoint.name in protected:
                continue
            if at.stage in ends and at.stage not in provided and judge(ends[at.stage]) is None:
                provided.add(at.stage)
            if at.stage in provided:
                yield checkpoint
                continue
        reason = judge(checkpoint)
        if reason is None:
            good += 1
            provided.add(at.stage)
        elif reason == NON_FINITE:
            non_finite += 1
            if non_finite > keep and not at.end and checkpoint.name not in protected:
                yield checkpoint


def reduce(
    checkpoint: Checkpoint,
    write: Callable[[Path], None],
    *,
    crash_point: Callable[[str], None] = crash_points.reached,
) -> None:
    """Replace the state of a checkpoint by a smaller one; at any instant one of both is complete.

    The manifest decides which: it is replaced in one step, and lists the one or the other.

    Args:
        write: writes the smaller state into the file that it is called with.

    Raises:
        OSError: the disk is full or failing; the checkpoint is as it was.
        ValueError: the manifest cannot be read.
    """
    manifest = checkpoint.read_manifest()
    reduced = checkpoint.path / REDUCED
    try:
        write(reduced)
        durable.fsync_file(reduced)
        durable.fsync_folder(checkpoint.path)
        files = {name: known for name, known in manifest["files"].items() if name != STATE}
        files[REDUCED] = digests.describe(reduced)
        record = {**manifest, "format": _format_of(files), "files": files}
        crash_point("before_manifest")
        durable.write_json(checkpoint.path / MANIFEST, record)
    except BaseException:
        if _state_of(checkpoint) != REDUCED:
            reduced.unlink(missing_ok=True)
        raise
    (checkpoint.path / STATE).unlink(missing_ok=True)
    durable.fsync_folder(checkpoint.path)


def _format_of(files: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the format of a manifest with these files: the oldest one that can describe them."""
    return FORMAT if any("chunks" in one for one in files.values()) else 1


def _state_of(checkpoint: Checkpoint) -> str:
    """Return which file of the state the manifest lists."""
    return REDUCED if REDUCED in checkpoint.read_manifest()["files"] else STATE


def sweep(folder: Path) -> list[str]:
    """Remove the remains of interrupted commits; call it only under the run's lock."""
    gone = []
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.name.startswith(".tmp-"):
                shutil.rmtree(entry, ignore_errors=True)
                gone.append(entry.name)
        gone += [name for checkpoint in scan(folder) for name in _sweep_reduced(checkpoint)]
    return gone


def _sweep_reduced(checkpoint: Checkpoint) -> Iterator[str]:
    """Remove the state that the manifest does not list, where there are two."""
    both = {name: checkpoint.path / name for name in (STATE, REDUCED)}
    if all(file.exists() for file in both.values()):
        try:
            listed = _state_of(checkpoint)
        except (OSError, ValueError):
            return  # verify says so
        for name, file in both.items():
            if name != listed:
                file.unlink(missing_ok=True)
                yield f"{checkpoint.name}/{name}"
