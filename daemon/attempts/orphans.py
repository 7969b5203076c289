"""Find and end processes of a run that outlived their keeper, by their environment or its lock.

A script may start its training in a process of its own (`torchrun`, a shell, `subprocess`); that
one holds no lock, and nothing ends it where the keeper was killed. Beside the next attempt it
would be a second writer. What cannot be seen from here is a process in a container that the job
had somebody else start.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog

from rekindle.jobs import environment, process
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Run

_GRACE_S: Final = 5.0
"""A keeper that has just ended may have ended the rest of its attempt by then."""
_KILLED_S: Final = 10.0
"""A process that was killed has ended by then, or cannot."""


class Leftovers:
    """End what is left of attempts whose keeper is gone, and record each process once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._alone_since: dict[str, float] = {}
        self._killed: dict[str, dict[process.Identity, float | None]] = {}
        self._log = structlog.get_logger()

    def are_alone(self, job: JobRow, keeper: process.Identity | None) -> bool:
        """Tell whether the keeper is gone for good, while the lock of its attempt is held."""
        if keeper is None or keeper.alive():
            self._alone_since.pop(job.id, None)
            return False
        since = self._alone_since.setdefault(job.id, time.monotonic())
        return time.monotonic() - since > _GRACE_S

    def end(self, job: JobRow, found: Sequence[process.Identity]) -> bool:
        """Kill what was found of an attempt whose keeper is gone; True where that was anything."""
        kill(found)
        known = self._killed.setdefault(job.id, {}) if found else {}
        now = time.monotonic()
        for one in found:
            since = known.setdefault(one, now)
            if since == now:
                self._record("leftover_killed", job, one, "outlived its keeper")
            elif since is not None and now - since > _KILLED_S:
                # as in a call that the kernel does not end: the next attempt has to wait for it
                known[one] = None
                self._record("leftover_does_not_end", job, one, "cannot be killed")
        return bool(found)

    def forget(self, job: JobRow) -> None:
        """Drop an attempt that has ended."""
        self._alone_since.pop(job.id, None)
        self._killed.pop(job.id, None)

    def _record(self, kind: str, job: JobRow, one: process.Identity, how: str) -> None:
        about = {"pid": one.pid, "message": f"Process {one.pid} of attempt {job.attempts} {how}."}
        self._log.warning(kind, job=job.id, attempt=job.attempts, **about)
        self._ledger.add_event(kind, job=job.id, attempt=job.attempts, data=about)


def of(run: Run, *, without: process.Identity | None = None) -> list[process.Identity]:
    """Find the live processes of an attempt of ``run`` that has not ended.

    Args:
        without: not this one: the keeper, while it is to go on.
    """
    root = os.path.realpath(run.root)
    lock = (root, os.path.join(root, run.lock.name))
    return _find(
        lambda pid: _is_marked(process.environment(pid), run) or process.holds_lock(pid, lock),
        without,
    )


def marked(run: Run) -> list[process.Identity]:
    """Find those that the environment shows: who else holds the lock may be an `export-run`."""
    return _find(lambda pid: _is_marked(process.environment(pid), run))


def kill(found: Iterable[process.Identity]) -> list[int]:
    """Kill processes of a run; returns the pids of those that were still there."""
    return [one.pid for one in found if one.send(signal.SIGKILL)]


def _find(
    belongs: Callable[[int], bool], without: process.Identity | None = None
) -> list[process.Identity]:
    """Find processes; never this one or one it came from: a job may have started the daemon."""
    spared = set(process.ancestors(os.getpid())) | ({without.pid} if without else set())
    found = []
    for pid in process.of_this_user():
        if pid in spared or not belongs(pid):
            continue
        identity = process.Identity.of(pid)
        # once more, now that a later process of this pid could not be taken for it
        if identity is not None and belongs(pid):
            found.append(identity)
    return found


def _is_marked(found: dict[bytes, bytes], run: Run) -> bool:
    folder, job, attempt = (found.get(name.encode(), b"") for name in environment.MARKS)
    if os.fsdecode(job) != run.id or not attempt.isdigit():
        return False
    path = Path(os.fsdecode(folder))
    if path == run.root:
        return True
    try:
        # a home that is reached by another name
        return path.name == run.id and path.samefile(run.root)
    except OSError:
        return False
