"""Session of one attempt of one job, inside the trainer.

It knows no Keras: stages report their progress and pass it snapshots to save. A failed save
never ends a running training; an unreadable state never starts one.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from rekindle.jobs import environment, heartbeat
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.attempt.grace_period import GracePeriod
from rekindle.jobs.attempt.progress import Pace, Progress
from rekindle.jobs.attempt.run_history import RunHistory
from rekindle.jobs.attempt.saves import Saves
from rekindle.jobs.attempt.stage_gate import StageGate
from rekindle.jobs.attempt.time_count import TimeCount
from rekindle.jobs.ends.limit import EndLimit
from rekindle.jobs.ends.stage_ends import StageEnds
from rekindle.jobs.evidence.proof import Proof, make_proof
from rekindle.jobs.evidence.state_digest import Parts
from rekindle.jobs.handover.snapshots import Keeper
from rekindle.jobs.heartbeat import UNKNOWN, Plan
from rekindle.jobs.job import CheckpointPolicy, Fork, Job
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.saving.checkpoint_store import CheckpointStore, RestorePoint
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.jobs.stages import records
from rekindle.jobs.stages.stage_table import StageTable
from rekindle.state.counted import counted
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import entries, proof, summary
from rekindle.state.run.checkpoints import Position
from rekindle.state.run.entries import Entry

OnFailure = Callable[[RekindleError], NoReturn]
OnRestored = tuple[int, Callable[[dict[str, Any]], None]]


class Session:
    """Follow one attempt: progress, receipts, saves; use :meth:`open`.

    Args:
        on_failure: ends the process with the exit code for *permanent*; None without a daemon.
        on_restored: in an export, a stage and a function of its restored models; no training.
        keeper: writes the checkpoints; None without a daemon.

    Attributes:
        stages: numbers the stages of the script.
        saves: writes checkpoints.
        times: counts where the time goes.
        history: what earlier attempts have reached.
    """

    current: ClassVar["Session | None"] = None
    """The session of this process, for loops written in the script."""

    def __init__(
        self,
        run: Run,
        job: Job,
        attempt: int,
        *,
        on_failure: OnFailure | None = None,
        on_restored: OnRestored | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.run, self.job, self.attempt = run, job, attempt
        self._on_restored, self._on_failure = on_restored, on_failure
        # read first: the new heartbeat overwrites how far the last attempt came
        before = heartbeat.read(run.heartbeat)
        known = summary.read(run).entries
        self.history = RunHistory.of(known, attempt, before)
        self._log = AttemptLog(run, attempt, self.history.unfollowed)
        store = CheckpointStore(run, job, attempt, self._log, set(self.history.committed), keeper)
        self.saves = Saves(job, store, self._log, self.beat, lambda: self.trained)
        stages = records.of_job(job, attempt, known, self.store.all())
        limit = EndLimit(run, job.checkpoint.keep_ends, self._log.note, self._log.warn)
        refuse, table = self.fail_permanently, StageTable(stages, self._log.note, self.note_change)
        self.stages = StageGate(table, StageEnds(limit, refuse), refuse)
        self._at = _Whereabouts(heartbeat.Heartbeat(run.heartbeat, attempt), self.history.reached)
        self.times = self._at.times
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
        """Set the session of this process."""
        cls.current = session
        return session

    @classmethod
    def drop(cls) -> None:
        """Remove the session of this process."""
        cls.current = None

    # reporting

    def warn(self, message: str, hint: str) -> None:
        """Report a warning once, in journal and log."""
        self._log.warn(message, hint)

    def report_unfollowed(self, message: str, hint: str) -> None:
        """Report training that is not saved, in journal and log and to the daemon."""
        self._log.warn(message, hint, unfollowed=True)

    def note_change(self, text: str) -> None:
        """Add to the receipt a change from the previous attempt."""
        self._changed.append(text)

    def fail_permanently(self, error: RekindleError) -> None:
        """End the process of an attempt at once, past any ``except`` of the script.

        A script that continued without its training would succeed with an untrained model.
        Without a daemon the process does not end here: the caller raises the error.
        """
        if self._on_failure is not None:
            self._on_failure(error)

    def wanted(self, stage: int) -> Callable[[dict[str, Any]], None] | None:
        """Return the function that receives the restored models of a stage; in an export only."""
        known = self._on_restored
        return known[1] if known is not None and known[0] == stage else None

    @property
    def exports(self) -> bool:
        """True in an export, which changes no file of the script."""
        return self._on_restored is not None

    def note(self, entry: entries.Entry) -> None:
        """Append an entry to the journal."""
        self._log.note(entry)

    @property
    def has_changed(self) -> bool:
        """True if something differs from the previous attempt, as the receipt will say."""
        return bool(self._changed)

    def save_policy(self, stage: int, policy: CheckpointPolicy | None = None) -> SavePolicy:
        """Make the save policy of a stage; without ``policy`` as the spec says."""
        return self.history.save_policy(stage, policy or self.job.checkpoint)

    # progress

    @property
    def progress(self) -> Progress:
        """Position of the training."""
        return self._at.progress

    @property
    def trained(self) -> bool:
        """True once this attempt has trained a batch."""
        return self._at.trained

    def advance(self, progress: Progress, *, trained: bool = True) -> None:
        """Set the position of the training.

        Args:
            trained: a batch was trained since the last call.
        """
        self._at.advance(progress, trained=trained)

    def beat(self, section: str) -> None:
        """Write the heartbeat (about a microsecond); ``section`` is what the trainer does now."""
        self._at.beat(section)

    def seeking(self) -> None:
        """Write the heartbeat while data is read again; exit on SIGTERM, with nothing to save."""
        self.beat("seek")
        if shutdown.requested():
            shutdown.exit_saved()

    def must_stop(self) -> bool:
        """Return whether training ends here: on request, or at the last step of a trial."""
        return shutdown.requested() or self._at.is_far_enough()

    # stages

    def leave_stage(self) -> None:
        """End a stage, however it ended."""
        self.grace.drop()  # an exception may have left a copy, which must not be saved later
        self.saves.settle()
        self.stages.leave()

    def resumed(
        self,
        point: RestorePoint,
        progress: Progress,
        *,
        restored: list[str],
        inexact: list[str],
        allowed: str | None = None,
        plan: Plan = UNKNOWN,
    ) -> int:
        """Write the receipt, once for each stage in which training begins or resumes.

        Args:
            allowed: the change of the script that was allowed, in words.
            plan: how long the stage will be.

        Returns:
            How many steps are repeated, as far as known.
        """
        repeated, seconds = 0, 0.0
        if not self._at.placed:
            repeated, seconds = self.history.repeated(
                progress.stage, progress.step, point.checkpoint, self.store.all()
            )
        self._at.place(progress, plan, repeated)
        self.store.take_best(point)
        receipt = entries.resumed(
            **_resumed_from(point, progress),
            lost_steps=repeated,
            lost_seconds=seconds,
            restored=restored,
            inexact=inexact,
            changed=list(self._changed),
            allowed=allowed,
            new_code=point.new_code(self.job.new_code, self.attempt),
            unfollowed=self._log.unfollowed,
            **dataclasses.asdict(plan),
            differed_in=self.history.proofs.differed_in,
            forked=_forked(self.job.fork, point),
        )
        if receipt["checkpoint"] is not None:
            log_line(f"attempt {self.attempt} {_resumed_words(receipt)}.")
        self._log.note(receipt)
        self.beat("step")
        return repeated

    def proof(self, stage: int, parts: Callable[[], Parts]) -> Proof:
        """Make the proof of a stage, whose variables ``parts`` returns."""
        of = (self.run, self.job, self.attempt, stage)
        return make_proof(*of, self.history.proofs, self._log, self._changed, parts)

    def stage_restored(self, stage: int, point: RestorePoint) -> None:
        """Record that a finished stage was restored without training."""
        assert point.checkpoint is not None
        self.advance(Progress.at(point.checkpoint.position), trained=False)
        self.store.take_best(point)
        log_line(f"stage {stage} was finished; restored its result from {point.checkpoint.name}.")

    def epoch_ended(self, stage: int, epoch: int, seconds: float, logs: dict[str, Any]) -> bool:
        """Journal a finished epoch; True if it has the best value of the monitored metric."""
        if self.job.checkpoint.monitor is not None:
            self.saves.settle()  # the best value so far is known once it is on disk
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
        self.stages.ends.drop(self.store.best_name)
        if stage in self.history.left:
            self.warn(
                f"An exception left stage {stage} in an earlier attempt, but not in this one.",
                "The script branches on something that is not part of the saved "
                "state: the result may differ from that of an undisturbed run.",
            )

    # saving

    @property
    def store(self) -> CheckpointStore:
        """The checkpoints of the run."""
        return self.saves.store

    @property
    def grace(self) -> GracePeriod:
        """The handler of SIGTERM within a long step."""
        return self.saves.grace


def _resumed_from(point: RestorePoint, progress: Progress) -> dict[str, Any]:
    return {
        "stage": progress.stage,
        "epoch": progress.epoch,
        "step": progress.step,
        "checkpoint": point.checkpoint.name if point.checkpoint else None,
        "refused": [{"name": r.name, "reason": r.reason} for r in point.refused],
        "instead_of": None if point.instead_of is None else point.instead_of.as_json(),
    }


def _forked(fork: Fork | None, point: RestorePoint) -> dict[str, Any] | None:
    """Return the field `forked` of a receipt: the checkpoint is one of another job."""
    if fork is None or not point.is_of(fork):
        return None
    return {**dataclasses.asdict(fork), "text": fork.text}


def _resumed_words(receipt: Entry) -> str:
    origin = receipt["forked"]
    return (
        (f"was forked from {origin['job']}, and " if origin is not None else "")
        + f"resumed from {receipt['checkpoint']} (epoch {receipt['epoch'] + 1}, "
        f"step {receipt['step']}); repeating {counted(receipt['lost_steps'], 'step')} "
        f"({receipt['lost_seconds']:.1f} s)"
        + (f", {proof.instead_of(receipt)}" if receipt["instead_of"] is not None else "")
    )


class _Whereabouts:
    """Hold the position of the training and write it into the heartbeat.

    Args:
        reached: batches trained in the whole run by earlier attempts.
    """

    def __init__(self, beating: heartbeat.Heartbeat, reached: int) -> None:
        self.progress = Progress()
        self.trained = False
        self.placed = False
        self._heartbeat = beating
        self._reached = reached
        self._until = Position.parse(os.environ.get(environment.UNTIL, ""))
        self._plan = UNKNOWN
        self._pace = Pace()
        self.times = TimeCount(time.monotonic())

    def advance(self, progress: Progress, *, trained: bool) -> None:
        self._pace.passed(progress.step, progress.epoch_step, time.monotonic())
        self.progress = progress
        self.trained = self.trained or trained

    def place(self, progress: Progress, plan: Plan = UNKNOWN, repeated: int = 0) -> None:
        """Begin or resume here: from now on the heartbeat holds this attempt's own step."""
        if not self.placed:
            self.times.repeats(progress.step + repeated)
        self.progress = progress
        self.placed = True
        self._plan = plan
        self._pace = Pace()

    def beat(self, section: str) -> None:
        at = self.progress
        self._heartbeat.beat(
            section,
            at.epoch,
            at.step if self.placed else max(at.step, self._reached),
            stage=at.stage,
            epoch_step=at.epoch_step,
            plan=self._plan,
            pace=self._pace.median,
            times=self.times.look(section, at.step, time.monotonic(), trained=self.trained),
        )

    def is_far_enough(self) -> bool:
        return self._until is not None and self.progress.position >= self._until
