"""Start and drop keepers that stand by with a warm spare; the launcher takes them over."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rekindle.daemon.keeper_environment import environment_of_keeper
from rekindle.jobs import bootstrap, process
from rekindle.jobs.handover.channel import Channel, Closed
from rekindle.state.paths import Run


@dataclass(frozen=True, slots=True)
class _Standby:
    """A keeper that waits for an attempt."""

    attempt: int
    keeper: "subprocess.Popen[bytes]"
    channel: Channel


class Standbys:
    """Hold at most one standing-by keeper for each job. Not thread-safe: the tick loop owns it."""

    def __init__(self) -> None:
        self._held: dict[str, _Standby] = {}
        self._ready: set[str] = set()
        self._ended: list[subprocess.Popen[bytes]] = []

    def start(self, run: Run, attempt: int, gpus: Sequence[str] | None) -> None:
        """Start a keeper that stands by for an attempt with these GPUs.

        Raises:
            OSError: it cannot be started.
        """
        self.drop(run.id)
        ours, theirs = Channel.pair()
        try:
            keeper = subprocess.Popen(
                bootstrap.command(
                    sys.executable,
                    "rekindle.jobs.standby.main",
                    str(run.root),
                    str(attempt),
                    options=("-I", "-S"),
                ),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=run.root,
                env=environment_of_keeper(gpus),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._held[run.id] = _Standby(attempt, keeper, ours)

    def look(self) -> dict[str, str | None]:
        """Read what the keepers say: why a job gets no spare, None for one that waits."""
        said: dict[str, str | None] = {}
        for job, one in [*self._held.items()]:
            while job in self._held and one.channel.waits():
                try:
                    message, _ = one.channel.receive(0)
                except Closed:
                    message = {"unfit": "its keeper has ended"}
                if "ready" in message:
                    self._ready.add(job)
                    said[job] = None
                else:
                    said[job] = str(message.get("unfit"))
                    self.drop(job)
        self._ended = [keeper for keeper in self._ended if keeper.poll() is None]
        return said

    def jobs(self) -> dict[str, int]:
        """Return the attempt for which each job has a standing-by keeper."""
        return {job: one.attempt for job, one in self._held.items()}

    def take(
        self, run: Run, attempt: int, gpus: Sequence[str] | None, fds: Sequence[int]
    ) -> "subprocess.Popen[bytes] | None":
        """Give an attempt to the keeper that stands by for it; None if there is none.

        Args:
            fds: its log, and the descriptors of the run's lock.
        """
        self.look()
        one = self._held.get(run.id)
        if one is None or run.id not in self._ready or one.attempt != attempt:
            # one that still imports would take longer than a start without it
            self.drop(run.id)
            return None
        if process.is_stopped(one.keeper.pid):
            # it would take the attempt, and begin with it when somebody lets it continue
            self.drop(run.id)
            return None
        del self._held[run.id]
        self._ready.discard(run.id)
        try:
            one.channel.send(
                {"attempt": attempt, "gpus": None if gpus is None else list(gpus)}, tuple(fds)
            )
        except Closed:
            self._end(one)
            return None
        one.channel.close()
        return one.keeper

    def drop(self, job: str) -> None:
        """End the standing-by keeper of a job, if it has one."""
        one = self._held.pop(job, None)
        self._ready.discard(job)
        if one is not None:
            self._end(one)

    def close(self) -> None:
        """End all of them, and wait for it: they end at once."""
        for job in [*self._held]:
            self.drop(job)
        for keeper in self._ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(2.0)

    def _end(self, one: _Standby) -> None:
        # it ends, and kills its spare, when this end is closed
        one.channel.close()
        if process.is_stopped(one.keeper.pid):
            one.keeper.kill()  # the kernel then kills its spare
        self._ended.append(one.keeper)
