"""Processes of a run that outlived their keeper: found by their environment, or by its lock.

A script may start its training in a process of its own (`torchrun`, a shell, `subprocess`); that
one holds no lock, and nothing ends it where the keeper was killed. Beside the next attempt it
would be a second writer. What cannot be seen from here is a process in a container that the job
had somebody else start.
"""

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from rekindle.jobs import environment, process
from rekindle.state.paths import Run


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
    """Never this process or one that it came from: a job may itself have started the daemon."""
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
