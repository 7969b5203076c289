"""Put back files of a checkpoint that are another by now, or name those that cannot be."""

import hashlib
import os
from pathlib import Path
from typing import Final

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files import csv_rows, held_files
from rekindle.jobs.files.open_files import OPEN_FILES
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.saving.kept_files import Record
from rekindle.state.counted import few
from rekindle.state.run import digests, entries, summary

_CHUNK: Final = 1 << 20
SLACK_S: Final = 2.0
"""File systems round times, and a process is journalled a moment after its start."""


class PutBack:
    """Compare the files of one checkpoint with those on disk, and put them back.

    A file that changed while no attempt of this job ran is another program's, or a person's: it is
    left as it is, and named.
    """

    def __init__(self, session: Session, stage: int, *, ended: bool) -> None:
        self._session = session
        self._stage = stage
        self._ended = ended
        self._times: list[tuple[float, float]] | None = None
        self._held: dict[str, bool] | None = None

    def all(self, records: dict[str, Record]) -> dict[str, int]:
        """Put back what is another now, to the absolute paths of this attempt.

        Returns:
            The paths of what was put back, with the sizes.
        """
        done: dict[str, Record] = {}
        OPEN_FILES.flush()
        for path, record in records.items():
            target = Path(os.path.realpath(path))  # a link stays a link
            try:
                if not _differs(record, target) or self._is_log_of_several(record, target):
                    continue
                if target.exists() and not self._is_ours(target.stat().st_mtime):
                    self._name(record, "was changed while no attempt of this job ran")
                elif (by_python := self._by_python(target)) is False:
                    self._name(record, "is held open by a library, and cannot be put back")
                elif record.kept and self._session.store.kept.give_back(
                    record, target, in_place=by_python is True
                ):
                    done[str(target)] = record
                elif target.exists():
                    lost = ", and its copy is missing" if record.kept else ""
                    self._name(record, f"is another file now{lost}")
                else:
                    self._name(record, "is missing")
            except OSError as error:
                self._name(record, f"cannot be put back ({error.strerror or error})")
        if done:
            names = [record.path for record in done.values()]
            when = "at its end" if self._ended else "at the checkpoint"
            log_line(f"stage {self._stage}: put back {few(names, 3)}, as {when}.")
            self._session.note(entries.files_put_back(stage=self._stage, names=names))
        return {path: record.bytes for path, record in done.items()}

    def _is_log_of_several(self, record: Record, target: Path) -> bool:
        """Cut only this job's own rows of a CSVLogger's file to which rows were appended."""
        if not (csv_rows.is_log(target) and _begins_with(record, target)):
            return False
        known = csv_rows.epochs(self._session.run.journal)
        done = csv_rows.cut(target, record.bytes, known, change=not self._ended)
        if self._ended and not done.kept:
            return False
        if done.kept:
            log_line(f"{record.path}: left {done.kept} rows that this job has not written.")
        if done.unclear and not self._ended:
            self._session.warn(
                f"{record.path} has rows that this job has not written: a row of the epoch in "
                "which it was killed may be in it twice.",
                "Let each job write a file of its own.",
            )
        return True

    def _name(self, record: Record, what: str) -> None:
        if record.kept or record.sha256 is not None:
            way = "Write the files of each training under a name of its own."
        else:
            way = (
                "It was above `checkpoint.keep_files`: raise that limit, or write the files of "
                "each training under a name of its own."
            )
        text = f"{record.path}, a file of stage {self._stage}, {what}"
        self._session.note_change(text)
        self._session.warn(
            f"{text}: where the script reads it, the result may differ from that of an "
            "undisturbed run.",
            way,
        )

    def _by_python(self, target: Path) -> bool | None:
        """Return whether Python alone holds a file open or mapped; None if nothing holds it.

        Replacing one that is held would leave a handle or mapping on the earlier one.
        """
        if self._held is None:
            self._held = held_files.paths()
        return self._held.get(str(target))

    def _is_ours(self, changed: float) -> bool:
        if self._times is None:
            self._times = attempt_times(summary.read(self._session.run).entries)
        return any(since <= changed <= until for since, until in self._times)


def _begins_with(record: Record, target: Path) -> bool:
    """Return whether a file has grown since the checkpoint."""
    if target.stat().st_size <= record.bytes:
        return False
    found = hashlib.sha256()
    with target.open("rb") as file:
        left = record.bytes
        while left and (data := file.read(min(left, _CHUNK))):
            found.update(data)
            left -= len(data)
    return record.sha256 is None or found.hexdigest() == record.sha256


def _differs(record: Record, target: Path) -> bool:
    try:
        info = target.stat()
    except FileNotFoundError:
        return True
    if (info.st_size, info.st_mtime_ns) == (record.bytes, record.mtime_ns):
        return False
    if record.sha256 is None:
        return True
    return info.st_size != record.bytes or digests.digest(target) != record.sha256


def attempt_times(journal: list[dict[str, object]]) -> list[tuple[float, float]]:
    """List the times in which attempts ran, in Unix seconds; the latest one is running."""
    times: list[tuple[float, float]] = []
    since: float | None = None
    for entry in journal:
        at = entry.get("t")
        if not isinstance(at, int | float):
            continue
        if entry["kind"] == "attempt_started":
            if since is not None:  # its keeper was killed, too, and has journalled no end
                times.append((since, at + SLACK_S))
            since = at - SLACK_S
        elif entry["kind"] == "attempt_ended" and since is not None:
            times.append((since, at + SLACK_S))
            since = None
    if since is not None:
        times.append((since, float("inf")))
    return times
