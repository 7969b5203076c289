"""One attempt of one job, seen from inside the trainer.

Knows no Keras: stages tell it where the training is and hand it states to write. A save that
fails never ends a training that runs; a state that cannot be read never starts one.
"""

import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from rekindle.jobs import environment, heartbeat
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.attempt.checkpoint_store import CheckpointStore, RestorePoint, Snapshot
from rekindle.jobs.attempt.grace_period import GracePeriod
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.run_history import RunHistory
from rekindle.jobs.attempt.save_policy import SavePolicy
from rekindle.jobs.attempt.stage_gate import StageGate
from rekindle.jobs.job import Job
from rekindle.jobs.journal_writer import tell
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import entries, journal
from rekindle.state.run.checkpoints import Position

OnFailure = Callable[[RekindleError], NoReturn]
OnRestored = tuple[int, Callable[[dict[str, Any]], None]]


class Session:
    """Follow one attempt: progress, receipts, saves; use :meth:`open`.

    Args:
        on_failure: ends the process with the code for *permanent*; None where it is not ours.
        on_restored: in an export, a stage and who is given its models as they were in its newest
            checkpoint; nothing is trained then.

    Attributes:
        stages: who enters and leaves stages.
        store: the checkpoints of the run.
        grace: what happens when SIGTERM comes in the middle of a long step.
    """

    current: ClassVar["Session | None"] = None
    """The session of this process, for loops that the script writes itself."""

    def __init__(
        self,
        run: Run,
        job: Job,
        attempt: int,
        *,
        on_failure: OnFailure | None = None,
        on_restored: OnRestored | None = None,
    ) -> None:
        self.run = run
        self.job = job
        self.attempt = attempt
        self._on_restored = on_restored
        self.stages = StageGate()
        # read first: the new heartbeat must not hide from the next attempt how far the last came
        before = heartbeat.read(run.heartbeat)
        self._history = RunHistory.of(journal.replay(run.journal).entries, attempt, before)
        self._log = AttemptLog(run, attempt, self._history.unfollowed)
        self.store = CheckpointStore(run, job, attempt, self._log, set(self._history.committed))
        self.grace = GracePeriod(job.limits.stop_grace)
        self._at = _Whereabouts(heartbeat.Heartbeat(run.heartbeat, attempt), self._history.reached)
        self._on_failure = on_failure
        self._changed: list[str] = []

    @classmethod
    def open(cls, run: Run, job: Job, attempt: int, **callbacks: Any) -> "Session":
        """Make the session of this process.

        Raises:
            OSError: the run directory cannot be written.
        """
        return cls.use(cls(run, job, attempt, **callbacks))

    @classmethod
    def use(cls, session: "Session") -> "Session":
        """Make a session the one of this process."""
        cls.current = session
        return session

    @classmethod
    def drop(cls) -> None:
        """Leave this process without a session."""
        cls.current = None

    # reporting

    def warn(self, message: str, hint: str) -> None:
        """Report once, in journal and log, what a person should know."""
        self._log.warn(message, hint)

    def report_unfollowed(self, message: str, hint: str) -> None:
        """Report training that is not saved: in journal and log, and to the daemon."""
        self._log.warn(message, hint, unfollowed=True)

    def note_change(self, text: str) -> None:
        """Note for the receipt what this attempt runs on that the one before did not."""
        self._changed.append(text)

    def fail_permanently(self, error: RekindleError) -> None:
        """End the process, if it is ours, past any ``except`` of the script.

        A script that continued without its training would end well, with an untrained model.
        Where the process is not ours the error is left to whoever runs the script.
        """
        if self._on_failure is not None:
            self._on_failure(error)

    def wanted(self, stage: int) -> Callable[[dict[str, Any]], None] | None:
        """Give who wants the restored models of a stage, by label; in an export only."""
        if self._on_restored is None or self._on_restored[0] != stage:
            return None
        return self._on_restored[1]

    # where the training is

    @property
    def progress(self) -> Progress:
        """Where the training is."""
        return self._at.progress

    @property
    def trained(self) -> bool:
        """Whether this attempt has trained a batch."""
        return self._at.trained

    def advance(self, progress: Progress, *, trained: bool = True) -> None:
        """Take note of where the training is.

        Args:
            trained: a batch was trained since.
        """
        self._at.advance(progress, trained=trained)

    def beat(self, section: str) -> None:
        """Write the heartbeat, about a microsecond; ``section`` says what the trainer does."""
        self._at.beat(section)

    def must_stop(self) -> bool:
        """Tell whether training ends here: asked to, or as far as a rehearsal goes."""
        return shutdown.requested() or self._at.is_far_enough()

    # stages

    def enter_stage(self) -> int:
        """Begin a ``fit`` or a loop and give its 0-based number in the script."""
        return self.stages.enter()

    def leave_stage(self) -> None:
        """End a stage, however it ended."""
        self.grace.drop()  # an exception may have left it behind
        self.stages.leave()

    def resumed(
        self,
        point: RestorePoint,
        progress: Progress,
        *,
        restored: list[str],
        inexact: list[str],
        allowed: str | None = None,
        epochs: int | None = None,
    ) -> None:
        """Write the receipt, once for each stage in which training begins or resumes.

        Args:
            allowed: in words, what of the script is another and was allowed to be.
            epochs: how many the stage has in all, where it is known.
        """
        repeated, seconds = 0, 0.0
        if not self._at.placed:
            repeated, seconds = self._history.lost(
                progress.stage, progress.step, point.checkpoint, self.store.all()
            )
        self._at.place(progress)
        self.store.take_best(point)
        name = point.checkpoint.name if point.checkpoint else None
        if name is not None:
            tell(
                f"attempt {self.attempt} resumed from {name} (epoch {progress.epoch}, "
                f"step {progress.step}); repeating {repeated} steps ({seconds:.1f} s)."
            )
        self._log.note(
            entries.resumed(
                stage=progress.stage,
                epoch=progress.epoch,
                step=progress.step,
                checkpoint=name,
                refused=[{"name": r.name, "reason": r.reason} for r in point.refused],
                lost_steps=repeated,
                lost_seconds=seconds,
                restored=restored,
                inexact=inexact,
                changed=list(self._changed),
                allowed=allowed,
                unfollowed=self._log.unfollowed,
                epochs=epochs,
            )
        )
        self.beat("step")

    def stage_restored(self, stage: int, point: RestorePoint) -> None:
        """Take note of a stage that had ended and was restored without training."""
        assert point.checkpoint is not None
        at = point.checkpoint.position
        self.advance(Progress(stage, at.epoch, at.step), trained=False)
        self.store.take_best(point)
        tell(f"stage {stage} had ended; its result was restored from {point.checkpoint.name}.")

    def epoch_ended(self, stage: int, epoch: int, seconds: float, logs: dict[str, Any]) -> bool:
        """Journal a finished epoch; True where it has the best value of the monitored metric."""
        self._log.note(
            entries.epoch_ended(
                stage=stage,
                epoch=epoch,
                step=self.progress.step,
                seconds=round(seconds, 6),
                logs=logs,
            )
        )
        return self.store.is_best(logs)

    def stage_ended(self, stage: int, epoch: int) -> None:
        """Journal a finished stage."""
        self._log.note(entries.stage_ended(stage=stage, epoch=epoch, step=self.progress.step))
        if stage in self._history.left:
            self.warn(
                f"Stage {stage} was left by an exception in an earlier attempt, and ended "
                "without one in this.",
                "What the script decides by is not part of the "
                "state: the result may differ from that of an undisturbed run.",
            )

    # saving

    def save(self, snapshot: Snapshot, why: str, *, best: bool = False, policy: SavePolicy) -> bool:
        """Commit a checkpoint and prune older ones; False, and a message, where that fails.

        Args:
            why: start, epoch, best, steps, time, signal or end.
            best: it holds the best value of the monitored metric so far.
            policy: is told of the save.
        """
        with self.grace.saving():
            at = snapshot.position
            if self.job.checkpoint.non_finite == "hold" and not self.store.may_resume_from(
                snapshot
            ):
                # what follows NaN is NaN: a person has to look
                self.store.report_non_finite(
                    Progress(at.stage, at.epoch, at.step), trained=self.trained
                )
                shutdown.end(environment.EXIT_PERMANENT)
            self.beat("save")
            seconds = self.store.commit(snapshot, why, best=best)
            policy.saved(at.epoch, at.step, time.monotonic(), seconds or 0.0)
            if seconds is not None:
                self.grace.note_save(seconds)
            self.beat("step")
            return seconds is not None


class _Whereabouts:
    """Hold where the training is, and write it into the heartbeat.

    Args:
        reached: batches trained in the whole run, as an earlier attempt wrote last.
    """

    def __init__(self, beating: heartbeat.Heartbeat, reached: int) -> None:
        self.progress = Progress()
        self.trained = False
        self.placed = False
        self._heartbeat = beating
        self._reached = reached
        self._until = Position.parse(os.environ.get(environment.UNTIL, ""))

    def advance(self, progress: Progress, *, trained: bool) -> None:
        self.progress = progress
        self.trained = self.trained or trained

    def place(self, progress: Progress) -> None:
        """Begin or resume here: from now on the heartbeat says this attempt's own step."""
        self.progress = progress
        self.placed = True

    def beat(self, section: str) -> None:
        step = self.progress.step
        self._heartbeat.beat(
            section, self.progress.epoch, step if self.placed else max(step, self._reached)
        )

    def is_far_enough(self) -> bool:
        return self._until is not None and self.progress.position >= self._until
