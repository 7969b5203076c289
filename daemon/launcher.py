"""Starting, adopting, signalling and probing attempts: a small interface over a run directory.

On one box it spawns keepers. Everything else is read back from the run directory, so that
a restarted daemon knows as much as the one that spawned them.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from rekindle.jobs import bootstrap, environment, process
from rekindle.state import reading
from rekindle.state.errors import LockHeld
from rekindle.state.paths import Run


class Launcher:
    """Attempts of this box. Not safe for threads: the tick loop owns it."""

    def __init__(self) -> None:
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, run: Run, attempt: int, gpus: Sequence[str] | None = None
              ) -> process.Identity | None:
        """Spawns the keeper of an attempt; it inherits the run's lock.

        Args:
            gpus: UUIDs of the GPUs it gets; None on a box without.

        Returns:
            The keeper, or None where it has ended already.

        Raises:
            LockHeld: something of an earlier attempt is still alive.
            OSError: no process or file can be made.
        """
        lock = _try_lock(run)
        if lock is None:
            raise LockHeld(
                "An earlier attempt of the job is still alive.",
                where=run.lock,
                hint="Wait for it to end, or stop it with `rekindle stop`.",
            )
        said = None
        try:
            said = reading.open_regular(
                run.keeper_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            keeper = subprocess.Popen(
                bootstrap.command(
                    sys.executable,
                    "rekindle.jobs.keeper",
                    str(run.root),
                    str(attempt),
                    str(lock),
                    options=("-I", "-S"),
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # not the daemon's own: the keeper outlives it
                stderr=said,
                cwd=run.root,
                env=_environment(gpus),
                # neither a Ctrl-C in the daemon's terminal nor its hang-up is for the keeper
                start_new_session=True,
                pass_fds=(lock,),
            )
        finally:
            os.close(lock)
            if said is not None:
                os.close(said)
        self._keepers[run.id] = keeper
        return process.Identity.of(keeper.pid)

    def alive(self, run: Run) -> bool:
        """Whether anything of an attempt lives: *lock held = alive*."""
        keeper = self._keepers.get(run.id)
        if keeper is not None and keeper.poll() is not None:
            del self._keepers[run.id]
        lock = _try_lock(run)
        if lock is None:
            return True
        os.close(lock)
        return False

    def terminate(self, keeper: process.Identity) -> bool:
        """Asks an attempt to save and end; False where its keeper is gone."""
        return keeper.send(signal.SIGTERM)


def _environment(gpus: Sequence[str] | None) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key != environment.GPUS}
    return env if gpus is None else {**env, environment.GPUS: ",".join(gpus)}


def _try_lock(run: Run) -> int | None:
    fd = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
