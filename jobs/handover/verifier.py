"""Verify checkpoints in the keeper while its trainer imports, and tell the trainer what was read.

The trainer takes the answer for a checkpoint only where it finds the very files that were read: the
same inodes, sizes and times of change. It verifies all others by itself.
"""

import contextlib
import threading
from typing import Any, Final

from rekindle.state.paths import Run
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Checkpoint

_LEAST: Final = 16 << 20
"""Least bytes of a checkpoint that is verified here: a smaller one takes the trainer no time."""
_NEWEST: Final = 2
"""Of the newest training: which of them it is resumed from depends on what is to be compared."""

Files = list[list[Any]]


def files_of(checkpoint: Checkpoint) -> Files:
    """Describe the files of a checkpoint, so that one that has changed since is known.

    Raises:
        OSError: they cannot be listed.
    """
    found = []
    for file in sorted(checkpoint.path.iterdir()):
        info = file.lstat()
        found.append(
            [file.name, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
        )
    return found


def is_large(files: Files) -> bool:
    """Return whether the keeper verifies a checkpoint of these files."""
    size: int = sum(file[3] for file in files)
    return size >= _LEAST


def candidates(run: Run) -> list[Checkpoint]:
    """List the large checkpoints that an attempt may read, in the order in which it asks."""
    found: list[Checkpoint] = []
    stages: dict[int, int] = {}
    newest = None
    for one in checkpoints.scan(run.checkpoints):  # newest first
        newest = one.position.stage if newest is None else newest
        seen = stages.get(one.position.stage, 0)
        if seen < (_NEWEST if one.position.stage == newest else 1):
            stages[one.position.stage] = seen + 1
            with contextlib.suppress(OSError):
                if is_large(files_of(one)):
                    found.append(one)
    return sorted(found, key=lambda one: one.position.stage)


class Verifier:
    """Thread of the keeper that verifies the checkpoints which its trainer will ask for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._waiting: dict[str, Checkpoint] | None = None
        self._busy: str | None = None
        self._good: dict[str, Files] = {}
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, once the trainer is spawned: before that there must be no thread."""
        threading.Thread(target=self._work, name="verifier", daemon=True).start()

    def end(self) -> None:
        """Verify no more."""
        with self._changed:
            self._ended.set()
            self._changed.notify_all()

    def answer(self, name: str) -> dict[str, Any]:
        """Return the files of a checkpoint that is good; none if that is not known.

        It waits for one that is being read. One that is not yet is left to the trainer, which asks.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended.is_set() or (self._waiting is not None and self._busy != name)
            )
            if self._waiting is not None:
                self._waiting.pop(name, None)
            return {"files": self._good.get(name)}

    def _work(self) -> None:
        found: list[Checkpoint] = []
        with contextlib.suppress(Exception):  # the trainer finds out what is wrong, and says so
            found = candidates(self._run)
        with self._changed:
            self._waiting = {one.name: one for one in found}
            self._changed.notify_all()
        while (checkpoint := self._next()) is not None:
            files = self._read(checkpoint)
            with self._changed:
                if files is not None:
                    self._good[checkpoint.name] = files
                self._busy = None
                self._changed.notify_all()

    def _next(self) -> Checkpoint | None:
        with self._changed:
            if self._ended.is_set() or not self._waiting:
                return None
            self._busy = next(iter(self._waiting))
            return self._waiting.pop(self._busy)

    def _read(self, checkpoint: Checkpoint) -> Files | None:
        """Return the files of a checkpoint if it is good; they are the same before and after."""
        try:
            before = files_of(checkpoint)
            if checkpoints.verify(checkpoint, ended=self._ended) is not None:
                return None
            return before if files_of(checkpoint) == before else None
        except Exception:  # whatever it is, the trainer finds it, too
            return None
