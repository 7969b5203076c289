"""Find and end processes of a run that outlived their keeper, by environment or lock.

A script may start its training in a separate process (`torchrun`, a shell, `subprocess`). That
process holds no lock, and nothing ends it when the keeper is killed: beside the next attempt it
would be a second writer. A process in a container that another program started cannot be found.
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

_STANDBY: Final = b"rekindle.jobs.standby.main"
_GRACE_S: Final = 5.0
"""Time in which the other processes of an attempt may end after their keeper."""
_KILLED_S: Final = 10.0
"""Time after which a process that was killed counts as unkillable."""


class Leftovers:
    """End the processes of attempts whose keeper has ended, and record each process once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keeper_gone_since: dict[str, float] = {}
        self._killed: dict[str, dict[process.Identity, float | None]] = {}
        self._log = structlog.get_logger()

    def outlive_keeper(self, job: JobRow, keeper: process.Identity | None) -> bool:
        """Return whether the keeper has ended and the lock of its attempt is still held."""
        if keeper is None or keeper.alive():
            self._keeper_gone_since.pop(job.id, None)
            return False
        since = self._keeper_gone_since.setdefault(job.id, time.monotonic())
        return time.monotonic() - since > _GRACE_S

    def end(self, job: JobRow, found: Sequence[process.Identity]) -> bool:
        """Kill the processes that were found of an attempt; True if there were any."""
        kill(found)
        known = self._killed.setdefault(job.id, {}) if found else {}
        now = time.monotonic()
        for one in found:
            since = known.setdefault(one, now)
            if since == now:
                self._record("leftover_killed", job, one, "outlived its keeper")
            elif since is not None and now - since > _KILLED_S:
                # in a system call that does not return: the next attempt has to wait for it
                known[one] = None
                self._record("leftover_does_not_end", job, one, "cannot be killed")
        return bool(found)

    def forget(self, job: JobRow) -> None:
        """Forget an attempt that has ended."""
        self._keeper_gone_since.pop(job.id, None)
        self._killed.pop(job.id, None)

    def _record(self, kind: str, job: JobRow, one: process.Identity, how: str) -> None:
        about = {"pid": one.pid, "message": f"Process {one.pid} of attempt {job.attempts} {how}."}
        self._log.warning(kind, job=job.id, attempt=job.attempts, **about)
        self._ledger.add_event(kind, job=job.id, attempt=job.attempts, data=about)


def of(run: Run, *, without: process.Identity | None = None) -> list[process.Identity]:
    """Find the live processes of an attempt of ``run`` that has not ended.

    Args:
        without: the keeper, if it is to keep running; it is left out.
    """
    root = os.path.realpath(run.root)
    lock = (root, os.path.join(root, run.lock.name))
    return _find(
        lambda pid: _is_marked(process.environment(pid), run) or process.holds_lock(pid, lock),
        without,
    )


def marked(run: Run) -> list[process.Identity]:
    """Find processes by environment alone: another holder of the lock may be an `export-run`."""
    return _find(lambda pid: _is_marked(process.environment(pid), run))


def kill(found: Iterable[process.Identity]) -> list[int]:
    """Kill processes of a run; return the pids of those that were alive."""
    return [one.pid for one in found if one.send(signal.SIGKILL)]


def _find(
    belongs: Callable[[int], bool], without: process.Identity | None = None
) -> list[process.Identity]:
    """Find processes, except this one and its ancestors: a job may have started the daemon."""
    spared = set(process.ancestors(os.getpid())) | ({without.pid} if without else set())
    found = []
    for pid in process.of_this_user():
        if pid in spared or not belongs(pid) or _waits(pid):
            continue
        identity = process.Identity.of(pid)
        # checked again: the pid may have passed to another process before it was identified
        if identity is not None and belongs(pid):
            found.append(identity)
    return found


def _waits(pid: int) -> bool:
    """Return whether a process is a warm spare that no attempt has taken: it writes no run."""
    parents = process.ancestors(pid)[1:2]
    try:
        words = Path(f"/proc/{parents[0]}/cmdline").read_bytes().split(b"\0") if parents else []
    except OSError:
        return False
    return _STANDBY in words and process.holds_socket(pid, 0)


def _is_marked(found: dict[bytes, bytes], run: Run) -> bool:
    folder, job, attempt = (found.get(name.encode(), b"") for name in environment.MARKS)
    if os.fsdecode(job) != run.id or not attempt.isdigit():
        return False
    path = Path(os.fsdecode(folder))
    if path == run.root:
        return True
    try:
        # the same home by another path
        return path.name == run.id and path.samefile(run.root)
    except OSError:
        return False
