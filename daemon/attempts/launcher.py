"""Start, signal and probe attempts through their run directories.

The launcher spawns keepers on this host. Everything else is read from the run directory, so
that a restarted daemon knows as much as the one that spawned them.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from rekindle.daemon.keeper_environment import environment_of_keeper
from rekindle.daemon.spares.standbys import Standbys
from rekindle.jobs import bootstrap, process
from rekindle.state import lock
from rekindle.state.errors import LockHeld
from rekindle.state.paths import Run
from rekindle.state.run import reading


class Launcher:
    """Launch the attempts of this host. Not thread-safe: the tick loop owns it.

    Args:
        standbys: keepers that stand by with a warm spare.
    """

    def __init__(self, standbys: Standbys | None = None) -> None:
        self._standbys = standbys or Standbys()
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, run: Run, attempt: int, gpus: Sequence[str] | None = None
    ) -> process.Identity | None:
        """Spawn the keeper of an attempt; it inherits the run's lock.

        Args:
            gpus: UUIDs of the GPUs it gets; None on a host without GPUs.

        Returns:
            The keeper, or None if it has ended already.

        Raises:
            LockHeld: a process of an earlier attempt is still alive.
            OSError: a process or file cannot be created.
        """
        held = lock.take(run.lock)
        if held is None:
            raise LockHeld(
                "An earlier attempt of the job is still alive.",
                where=run.lock,
                hint="Wait for it to end, or stop it with `rekindle stop`.",
            )
        keeper_log = None
        try:
            keeper_log = reading.open_regular(
                run.keeper_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
            )
            keeper = self._standbys.take(run, attempt, gpus, (keeper_log, *held))
            if keeper is None:
                keeper = _spawn(run, attempt, gpus, held, keeper_log)
        finally:
            lock.release(held)
            if keeper_log is not None:
                os.close(keeper_log)
        self._keepers[run.id] = keeper
        return process.Identity.of(keeper.pid)

    def alive(self, run: Run) -> bool:
        """Return whether a process of an attempt is alive: *lock held = alive*."""
        keeper = self._keepers.get(run.id)
        if keeper is not None and keeper.poll() is not None:
            del self._keepers[run.id]
        held = lock.take(run.lock)
        if held is None:
            return True
        lock.release(held)
        return False

    def terminate(self, keeper: process.Identity) -> bool:
        """Ask an attempt to save and end, even a stopped one; False if its keeper has ended."""
        return keeper.send(signal.SIGTERM) and keeper.send(signal.SIGCONT)


def _spawn(
    run: Run, attempt: int, gpus: Sequence[str] | None, lock_fds: tuple[int, ...], log: int
) -> "subprocess.Popen[bytes]":
    """Start a keeper in an interpreter of its own."""
    with _signals_blocked():
        return subprocess.Popen(
            bootstrap.command(
                sys.executable,
                "rekindle.jobs.keeper.main",
                str(run.root),
                str(attempt),
                *map(str, lock_fds),
                options=("-I", "-S"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # not the daemon's own: the keeper outlives it
            stderr=log,
            cwd=run.root,
            env=environment_of_keeper(gpus),
            # a Ctrl-C in the daemon's terminal, or its hang-up, must not reach the keeper
            start_new_session=True,
            pass_fds=lock_fds,
        )


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block SIGTERM while a child starts: one that arrives early stays pending for the child."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
