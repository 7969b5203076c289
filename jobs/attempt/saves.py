"""Saves of an attempt: written before the training continues, or while it does.

A snapshot is taken between two steps and takes a few milliseconds. A thread then judges,
writes and commits it; the next snapshot waits for that. The beginning and the end of a stage,
and what SIGTERM asks for, are on disk before anything else happens.
"""

import functools
import time
from collections.abc import Callable
from typing import Final

from rekindle.jobs import environment, memory
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.attempt.grace_period import GracePeriod
from rekindle.jobs.job import Job
from rekindle.jobs.saving.background import Background
from rekindle.jobs.saving.checkpoint_store import CheckpointStore, Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.run.checkpoints import Position

AT_ONCE: Final = frozenset({"start", "signal", "end"})
"""Reasons for a save that is on disk when :meth:`Saves.save` returns."""
_ROOM: Final = 1.25
"""Free memory that a save in the background needs, in sizes of the state, beside its copy in
shared memory: until a variable is copied, training writes its new value elsewhere."""


class Saves:
    """Write the snapshots of an attempt.

    Args:
        beat: writes the heartbeat with a section.
        trained: returns whether this attempt has trained a batch.

    Attributes:
        store: the checkpoints of the run.
        grace: handles SIGTERM within a long step.
    """

    def __init__(
        self,
        job: Job,
        store: CheckpointStore,
        log: AttemptLog,
        beat: Callable[[str], None],
        trained: Callable[[], bool],
    ) -> None:
        self.store = store
        self._background = Background()
        self.grace = GracePeriod(job.limits.stop_grace, self.settle)
        self._job = job
        self._log = log
        self._beat = beat
        self._trained = trained
        self._saved = True
        self._cramped = False
        shutdown.before_end(self.settle)

    def settle(self) -> bool:
        """Wait until everything is on disk; return whether the last save succeeded."""
        waits = self.is_writing
        if waits:
            self._beat("save")
        self._background.settle()
        if waits:
            self._beat("step")
        return self._saved

    @property
    def is_writing(self) -> bool:
        """True while a checkpoint is being written in the background."""
        return self._background.is_running

    def poll(self) -> None:
        """Take the result of a save in the background, if it has ended."""
        self._background.poll()

    def save(
        self,
        snapshot: Snapshot,
        why: str,
        *,
        policy: SavePolicy,
        best: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> bool:
        """Write a snapshot; return False if that failed, True also while it is being written.

        Args:
            why: start, epoch, best, steps, time, signal or end.
            best: it holds the best value of the monitored metric so far.
            policy: records the save.
            then: called once the checkpoint is on disk.
        """
        with self.grace.saving():
            self.settle()
            self._beat("save")
            at = snapshot.position
            write = functools.partial(self._write, snapshot, why, best, policy, then)
            policy.saved(at.epoch, at.step, time.monotonic())
            self._saved = True
            if not self._has_room(snapshot):
                write(shared=False)()
            elif why in AT_ONCE or shutdown.requested():
                write()()
            else:
                self._background.start(write)
            self._beat("step")
            return self._saved

    def _write(
        self,
        snapshot: Snapshot,
        why: str,
        best: bool,
        policy: SavePolicy,
        then: Callable[[], None],
        *,
        shared: bool = True,
    ) -> Callable[[], None]:
        """Commit a snapshot, in any thread; return what is left to do in the main thread.

        Args:
            shared: move it into shared memory first.
        """
        at = snapshot.position
        if shared:
            self.store.writer.take(snapshot.tensors)
        snapshot.fetch()
        if self._job.checkpoint.non_finite == "hold" and not snapshot.finite:
            # every later step would be NaN, too: the job is held for a person to decide
            return lambda: _stop_not_finite(self.store, at, trained=self._trained())
        seconds = self.store.commit(snapshot, why, best=best, delay=policy.costs.measured)

        def finish() -> None:
            self._saved = seconds is not None
            if seconds is not None:
                policy.costs.wrote(seconds, snapshot.bytes)
                self.grace.note_save(seconds)
                then()

        return finish

    def _has_room(self, snapshot: Snapshot) -> bool:
        free = memory.free(self._job.resources.memory)
        needed = self.store.writer.growth(snapshot.bytes) + _ROOM * snapshot.held_bytes
        if free is None or free >= needed:
            return True
        if not self._cramped:
            self._cramped = True
            self._log.warn(
                f"A second copy of the state ({_mib(snapshot.bytes)}) does not fit into the free "
                f"memory ({_mib(free)}); where that is so, a checkpoint is written before the "
                "training continues.",
                "Save less often, or give the job more memory.",
            )
        return False


def _mib(size: int) -> str:
    return f"{max(size, 0) / 2**20:.0f} MiB"


def _stop_not_finite(store: CheckpointStore, at: Position, *, trained: bool) -> None:
    """Journal the failure for which the daemon holds the job, and end the process."""
    store.report_non_finite(at, trained=trained)
    shutdown.end(environment.EXIT_PERMANENT)
