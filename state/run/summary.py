"""Summarise a journal, so that a start or an end of an attempt never reads all of it again.

A summary holds the entries that readers of a run's past need, in their order: an entry stays as
long as it is the newest of something, e.g. the newest commit of a checkpoint that was not pruned.
It is kept beside the journal with the offset that it covers; a reader then reads the lines after
that. A file that is missing, damaged, or of another journal (truncated, replaced) is not used, and
made again from the whole journal.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Final

from rekindle.state.paths import Run
from rekindle.state.run import entries as records
from rekindle.state.run import journal, proof, reading
from rekindle.state.run.entries import Entry

FORMAT: Final = 1
CHUNK_BYTES: Final = 2**20
"""Bytes of a journal that are in memory at once."""
SAVE_AFTER_BYTES: Final = 64 * 2**10
"""Bytes of lines that a reader reads again rather than write a file."""
_WINDOW: Final = 4096

_BULKY: Final = frozenset({"traceback", "logs"})
OF_DAEMON: Final = frozenset(
    {
        "state_changed",
        "job_changed",
        "attempt_changed",
        "quarantine_pruned",
        "checkpoint_refused",
        "scratch_requested",
    }
)
"""Kinds that are also written while no attempt runs: their times say nothing about a training."""
_ALWAYS: Final = frozenset(
    {"attempt_started", "attempt_ended", "resumed", "stage_ended", "scratch_requested", "hung"}
)
_LAST_OF_ATTEMPT: Final = frozenset({"failed", "stop_received", "provenance"})


class Summary:
    """Keep of each journal entry what readers of a run's past need.

    Attributes:
        offset: bytes of the journal that it covers.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._kept: dict[int, Entry] = {}
        self._roles: dict[int, set[Hashable]] = {}
        self._holder: dict[Hashable, int] = {}
        self._highest: dict[object, int] = {}
        self._commits: dict[object, set[int]] = {}
        self._taken = 0

    @property
    def entries(self) -> list[Entry]:
        """The entries that are kept, oldest first."""
        return [*self._kept.values()]

    def take(self, found: Iterable[Entry], offset: int) -> None:
        """Process the next entries of the journal, which end at ``offset``."""
        for entry in found:
            self._take(entry)
        self.offset = offset

    def read_on(self, path: Path) -> None:
        """Process the lines that follow, chunk by chunk.

        Raises:
            OSError: the journal cannot be read.
        """
        while True:
            replay = journal.replay(path, self.offset, most=CHUNK_BYTES)
            if replay.offset <= self.offset:
                return
            self.take(replay.entries, replay.offset)

    def _take(self, entry: Entry) -> None:
        self._taken += 1
        number, kind = self._taken, entry["kind"]
        self._kept[number] = {k: v for k, v in entry.items() if k not in _BULKY}
        self._roles[number] = set()
        if kind == "checkpoint_committed":
            self._commits.setdefault(entry.get("name"), set()).add(number)
        for role in self._roles_of(entry, number):
            self._give(role, number)
        if kind == "checkpoint_pruned":
            self._prune(entry.get("name"), number)
        if not self._roles[number]:
            self._drop(number)

    def _roles_of(self, entry: Entry, number: int) -> list[Hashable]:
        kind, attempt = entry["kind"], entry.get("attempt")
        roles: list[Hashable] = []
        if kind not in OF_DAEMON and kind != "attempt_ended" and isinstance(attempt, int):
            roles.append(("newest", attempt))
        if (
            kind in _ALWAYS
            or (kind == "attempt_changed" and ("cause" in entry or "to_step" in entry))
            or (kind == "state_changed" and entry.get("was") in records.LEFT_ON_REQUEST)
        ):
            roles.append(("own", number))
        elif kind == "proved" and entry.get("result") == proof.DIFFERENT:
            # a difference is sticky for the run
            roles.append(("own", number))
        elif kind in _LAST_OF_ATTEMPT:
            roles.append((kind, attempt))
        elif kind == "imported":
            roles.append((kind,))
        elif kind == "appended":
            roles.append(("appended", entry.get("file")))
        elif kind == "wrote":
            roles.append((kind, attempt, entry.get("stage"), entry.get("file")))
        elif kind == "warned" and entry.get("unfollowed") is True:
            roles.append(("unfollowed", attempt))
            if ("message", entry.get("message")) not in self._holder:
                roles.append(("message", entry.get("message")))
        elif kind == "checkpoint_committed":
            roles.append(("exists", entry.get("name")))
            step = entry.get("step")
            if isinstance(step, int) and step >= self._highest.get(attempt, 0):
                self._highest[attempt] = step
                roles.append(("highest", attempt))
            if entry.get("end"):
                roles.append(("end",))
        elif kind == "stage_begun":
            roles.append(("stage", entry.get("stage")))
        return roles

    def _give(self, role: Hashable, number: int) -> None:
        before = self._holder.get(role)
        self._holder[role] = number
        self._roles[number].add(role)
        if before is not None:
            self._take_away(role, before)

    def _take_away(self, role: Hashable, number: int) -> None:
        self._roles[number].discard(role)
        if not self._roles[number]:
            self._drop(number)

    def _drop(self, number: int) -> None:
        entry = self._kept.pop(number)
        del self._roles[number]
        if entry["kind"] == "checkpoint_committed":
            name = entry.get("name")
            left = self._commits[name]
            left.discard(number)
            if not left:
                del self._commits[name]
                # the record that it was pruned was needed as long as a commit was kept
                record = self._holder.pop(("pruned", name), None)
                if record is not None:
                    self._take_away(("pruned", name), record)

    def _prune(self, name: object, number: int) -> None:
        commit = self._holder.pop(("exists", name), None)
        if commit is not None:
            self._take_away(("exists", name), commit)
        if name in self._commits:
            self._give(("pruned", name), number)


def read(run: Run) -> Summary:
    """Summarise a run's journal: from the file beside it, and the lines that follow.

    Raises:
        OSError: the journal cannot be read.
    """
    summary = load(run)
    known = summary.offset
    summary.read_on(run.journal)
    if summary.offset - known > SAVE_AFTER_BYTES:
        save(summary, run)
    return summary


def load(run: Run) -> Summary:
    """Load the kept summary of a run's journal; an empty one if it cannot be used."""
    empty = Summary()
    try:
        body, _, checksum = reading.read_bytes(run.journal_summary).rpartition(b"\n")
        if checksum != b"%08x" % zlib.crc32(body):
            return empty
        value = reading.parse_json(body)
        offset = value["offset"]
        if value["format"] != FORMAT or value["windows"] != _windows(run.journal, offset):
            return empty
        found = [records.checked(entry) for entry in value["entries"]]
        loaded = Summary()
        loaded.take(found, offset)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return empty
    return loaded


def save(summary: Summary, run: Run) -> None:
    """Keep a summary beside its journal; a failure only costs the next reader its time."""
    # no fsync: the checksum finds a file that a power cut has left incomplete
    temporary = run.journal_summary.with_name(f".{run.journal_summary.name}-{os.getpid()}")
    try:
        value = {
            "format": FORMAT,
            "offset": summary.offset,
            "windows": _windows(run.journal, summary.offset),
            "entries": summary.entries,
        }
        body = json.dumps(value, separators=(",", ":"), default=str).encode()
        fd = reading.open_regular(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640
        )
        with os.fdopen(fd, "wb") as file:
            file.write(body + b"\n%08x" % zlib.crc32(body))
        os.replace(temporary, run.journal_summary)
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            temporary.unlink()


def _windows(path: Path, offset: int) -> list[int]:
    """Compute checksums of the first and the last bytes before ``offset``.

    Raises:
        OSError: the journal cannot be read, or is shorter.
    """
    fd = reading.open_regular(path)
    try:
        if os.fstat(fd).st_size < offset:
            raise OSError(f"{path} is shorter than {offset} bytes")
        size = min(_WINDOW, offset)
        return [zlib.crc32(os.pread(fd, size, at)) for at in (0, offset - size)]
    finally:
        os.close(fd)
