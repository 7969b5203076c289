"""Copies of the script's files in the run directory, within the limit of the spec."""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, kept_files
from rekindle.state.run.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Record:
    """Describe a file as of a checkpoint.

    Attributes:
        path: relative to the job's working folder where it is below it, else absolute.
        mtime_ns: time of its last change, Unix nanoseconds.
        sha256: digest of its content; None where it was above the limit and not read.
        kept: there is a copy.
    """

    path: str
    bytes: int
    mtime_ns: int
    mode: int
    sha256: str | None
    kept: bool

    @classmethod
    def of(cls, value: Any) -> "Record | None":
        """Read a record from a checkpoint; None if it is not understood."""
        with contextlib.suppress(TypeError, KeyError, ValueError):
            return cls(
                path=str(value["path"]),
                bytes=int(value["bytes"]),
                mtime_ns=int(value["mtime_ns"]),
                mode=int(value["mode"]) & 0o777,
                sha256=value["sha256"] and str(value["sha256"]),
                kept=bool(value["kept"]),
            )
        return None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class KeptFiles:
    """Keep and remove the copies of one run.

    Args:
        limit: bytes of all copies together.
    """

    def __init__(self, run: Run, limit: int) -> None:
        self.limit = limit
        self._run = run
        self._needed: dict[str, dict[str, int]] = {}

    def add(self, path: Path) -> tuple[str, int]:
        """Keep a copy of a file; return its digest and bytes.

        Raises:
            OSError: as of :func:`kept_files.add`.
        """
        return kept_files.add(self._run.kept_files, path)

    def give_back(self, record: Record, target: Path, *, in_place: bool = False) -> bool:
        """Replace ``target`` by its copy; False if there is no good one.

        Args:
            in_place: the file is open, and stays the same one.

        Raises:
            OSError: the target cannot be written.
        """
        if in_place and record.sha256 is not None:
            return kept_files.write_into(self._run.kept_files, record.sha256, target)
        return record.sha256 is not None and kept_files.give_back(
            self._run.kept_files, record.sha256, target, mode=record.mode, mtime_ns=record.mtime_ns
        )

    def left_for(self, stage: int) -> int:
        """Return the bytes that the files of a stage may take."""
        others = self._essential(without=stage)
        return max(0, self.limit - sum(others.values()))

    def collect(self) -> None:
        """Remove the copies that no checkpoint needs.

        Above the limit only the newest checkpoint of each stage keeps its copies.
        """
        everything: dict[str, int] = {}
        present = checkpoints.scan(self._run.checkpoints)
        for checkpoint in present:
            everything |= self._of(checkpoint)
        self._needed = {c.name: self._needed[c.name] for c in present}
        if sum(everything.values()) > self.limit:
            everything = self._essential()
        kept_files.collect(self._run.kept_files, everything)

    def _essential(self, without: int | None = None) -> dict[str, int]:
        newest: dict[int, Checkpoint] = {}
        for checkpoint in checkpoints.scan(self._run.checkpoints):
            newest.setdefault(checkpoint.position.stage, checkpoint)
        found: dict[str, int] = {}
        for stage, checkpoint in newest.items():
            if stage != without:
                found |= self._of(checkpoint)
        return found

    def _of(self, checkpoint: Checkpoint) -> dict[str, int]:
        """Return what a checkpoint needs; its manifest is read once.

        Raises:
            OSError, ValueError: the manifest cannot be read: nothing may be removed then.
        """
        if checkpoint.name not in self._needed:
            self._needed[checkpoint.name] = kept_files.of_manifest(checkpoint)
        return self._needed[checkpoint.name]


def needed_by(records: list[dict[str, Any]]) -> dict[str, int]:
    """Return the entry ``kept`` of a manifest for the files of a checkpoint."""
    return {r["sha256"]: r["bytes"] for r in records if r["kept"] and r["sha256"]}
