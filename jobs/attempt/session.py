"""The trainer's side of one attempt: what is journalled, when checkpoints are due, which are kept.

Knows no Keras: `fit` tells it where the training is and hands it states to write. A save
that fails never ends a training that runs; a state that cannot be read never starts it.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from rekindle.jobs import environment, heartbeat
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.grace_period import Deadline
from rekindle.jobs.attempt.run_history import Past
from rekindle.jobs.attempt.save_policy import Cadence, is_better
from rekindle.jobs.job import Job
from rekindle.jobs.journal_writer import Record, tell
from rekindle.state.errors import CheckpointsUnreadable, RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal
from rekindle.state.run.checkpoints import Checkpoint, Position, Refusal

if TYPE_CHECKING:
    from rekindle.jobs.capture.codec import Tensors

_SCRATCH_HINT = (
    "Put a good checkpoint back, or begin anew with `rekindle retry JOB "
    "--from-scratch`; nothing is deleted by that."
)


@dataclass(frozen=True, slots=True)
class Departure:
    """Where a stage goes on from.

    Attributes:
        checkpoint: the newest good one of the stage, or None where the stage begins.
        refused: newer ones that were put into quarantine on the way.
        tensors, state: its content.
    """

    checkpoint: Checkpoint | None
    refused: list[Refusal] = field(default_factory=list)
    tensors: "Tensors" = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Snapshot:
    """A state to be saved: arrays, and JSON for the rest.

    Attributes:
        finite: False where a variable holds NaN or infinity; such a checkpoint is kept for
            a person to look at and never used to go on.
    """

    position: Position
    tensors: "Tensors"
    state: dict[str, Any]
    logs: dict[str, Any]
    finite: bool = True


class Session:
    """One attempt of one job, seen from inside the trainer; use :meth:`open`.

    Attributes:
        epoch: 0-based epoch in work, for the heartbeat and for failure reports.
        step: batches trained in the whole run.
        trained: whether this attempt has trained a batch.
        changed: what this attempt runs on that the one before did not, in words.
        within: a stage is under way; a `fit` in it is part of it.
        left: what a loop that was left by `break` has still to commit.
        refusal: ends the process with the code for *permanent*; None where it is not ours.
        show: in an export, the stage whose models are wanted as they were in its newest
            checkpoint, and who wants them; nothing is trained then.
    """

    current: ClassVar["Session | None"] = None
    """The session of this process, for loops that the script writes itself."""

    def __init__(self, run: Run, job: Job, attempt: int) -> None:
        self.run = run
        self.job = job
        self.attempt = attempt
        self._record = Record(run.journal, attempt)
        self.epoch = 0
        self.step = 0
        self.trained = False
        self.changed: list[str] = []
        self.cadence = Cadence(job.checkpoint)
        # where the run had got to before: the new heartbeat must not hide it from the next
        before = heartbeat.read(run.heartbeat)
        self._past = Past.of(journal.replay(run.journal).entries, attempt, before)
        self._expected = self._past.committed
        self.deadline = Deadline(job.limits.stop_grace)
        self.heartbeat = heartbeat.Heartbeat(run.heartbeat, attempt)
        self._best: float | None = None
        self._best_name: str | None = None
        # what was found of checkpoints, by name: None for a good one
        self._verdicts: dict[str, str | None] = {}
        self._restored_once = False
        self._warned: set[str] = set()
        self._unfollowed = list(self._past.unfollowed)
        self._stages = 0
        self._until = Position.parse(os.environ.get(environment.UNTIL, ""))
        self.within = False
        self.left: Callable[[], None] | None = None
        self._owner = os.getpid()
        self._listeners: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self.refusal: Callable[[RekindleError], NoReturn] | None = None
        self.show: tuple[int, Callable[[dict[str, Any]], None]] | None = None
        self._left_by: BaseException | None = None

    @classmethod
    def open(cls, run: Run, job: Job, attempt: int) -> "Session":
        """
        Raises:
            OSError: the run directory cannot be written.
        """
        Session.current = cls(run, job, attempt)
        return Session.current

    # stages

    def enter_stage(self) -> int:
        """A `fit` or a loop begins; its number in the script, 0-based."""
        if shutdown.answered():
            # asked to stop: what the script trains from here on would rest on a training that
            # a handler of its own has cut short
            shutdown.end(environment.EXIT_SAVED)
        self.settle()
        for entering, _ in self._listeners:
            entering()
        number, self._stages = self._stages, self._stages + 1
        self.within = True
        return number

    def leave_stage(self) -> None:
        self.within = False
        self.deadline.spare = None  # an exception may have left it behind
        for _, left in self._listeners:
            left()

    def listen(self, entering: Callable[[], None], left: Callable[[], None]) -> None:
        """Calls ``entering`` before each stage and ``left`` after it."""
        self._listeners.append((entering, left))

    @property
    def forked(self) -> bool:
        """Whether this is a forked child of the trainer: only the trainer itself is followed."""
        return os.getpid() != self._owner

    def leave_stage_by(self, error: BaseException) -> None:
        """Remember the exception that came out of a stage."""
        self._left_by = error

    def is_from_stage(self, error: BaseException) -> bool:
        """Tell whether an exception that ends the script came out of a stage."""
        seen: BaseException | None = error
        for _ in range(20):
            if seen is None:
                break
            if seen is self._left_by:
                return True
            seen = seen.__cause__ or seen.__context__
        return self.within  # an exception in the body of a loop does not pass through the loop

    def settle(self) -> None:
        """The script goes on, or has ended well: a loop that it had left is over for good.

        Not where SIGTERM came to a handler of the script's own: that is why it left the loop.
        """
        commit, self.left = self.left, None
        if commit is not None and not shutdown.answered():
            commit()

    # where the training is

    def beat(self, section: str) -> None:
        """Tells the daemon that the trainer lives, and where it is; about a microsecond."""
        step = self.step if self._restored_once else max(self.step, self._past.reached)
        self.heartbeat.beat(section, self.epoch, step)

    def must_stop(self) -> bool:
        """Whether training ends here: it was asked to, or has come as far as it should."""
        return shutdown.requested() or (
            self._until is not None
            and Position(self._stages - 1, self.epoch, self.step) >= self._until
        )

    def refuse(self, error: RekindleError) -> None:
        """Ends the process, if it is ours, past any `except` of the script's.

        A script that goes on without its training would end well, with a model that never was
        trained; where the process is not ours the error goes up to whoever runs the script.
        """
        if self.refusal is not None:
            self.refusal(error)

    def warn(self, message: str, hint: str) -> None:
        """Tells something a person should know, once, in the journal and in the log."""
        if message in self._warned:
            return
        self._warned.add(message)
        tell(f"{message} {hint}")
        self._note("warned", message=message, hint=hint)

    def report_unfollowed(self, message: str, hint: str) -> None:
        """Report training that is not saved: once, in the journal, the log, and to the daemon."""
        if message in self._warned:
            return
        self._warned.add(message)
        self._unfollowed.append(message)
        tell(f"{message} {hint}")
        self._note("warned", message=message, hint=hint, unfollowed=True)

    # going on

    def depart(
        self, stage: int, read: "Callable[[Path], tuple[Tensors, dict[str, Any]]]"
    ) -> Departure:
        """The newest good checkpoint of a stage, read and verified.

        Raises:
            CheckpointsUnreadable: there were checkpoints of this stage and none is good.
        """
        refused: list[Refusal] = []
        candidates = [
            c for c in checkpoints.scan(self.run.checkpoints) if c.position.stage == stage
        ]
        for checkpoint in candidates:
            reason = checkpoints.verify(checkpoint)
            if reason is None:
                try:
                    tensors, state = read(checkpoint.state)
                except (OSError, ValueError, KeyError) as error:
                    reason = f"its state cannot be read ({error})"
                else:
                    reason = _non_finite(tensors)
                    if reason is None:
                        self._verdicts[checkpoint.name] = None
                        return Departure(checkpoint, refused, tensors, state)
            where = checkpoints.quarantine(checkpoint, reason)
            refused.append(Refusal(checkpoint.name, reason))
            tell(f"checkpoint {checkpoint.name} is not used: {reason}.")
            self._note(
                "checkpoint_refused", name=checkpoint.name, reason=reason, quarantined_to=str(where)
            )
        if refused:
            last = refused[-1]
            raise CheckpointsUnreadable(
                f"None of the {len(refused)} checkpoints is good; the oldest, {last.name}: "
                f"{last.reason}.",
                where=self.run.quarantine,
                hint=_SCRATCH_HINT,
            )
        missing = sorted(
            name
            for name in self._expected
            if (p := Position.parse(name)) is not None and p.stage == stage
        )
        if missing:
            raise CheckpointsUnreadable(
                f"Checkpoints were committed and are gone: {missing[-1]} and "
                f"{len(missing) - 1} more.",
                where=self.run.checkpoints,
                hint=_SCRATCH_HINT,
            )
        return Departure(None)

    def resumed(
        self,
        stage: int,
        departure: Departure,
        *,
        epoch: int,
        step: int,
        restored: list[str],
        inexact: list[str],
        allowed: str | None = None,
        epochs: int | None = None,
    ) -> None:
        """Writes the receipt: once for each stage in which training begins or goes on.

        Args:
            epochs: how many the stage has in all, where it is known.
            allowed: in words, what of the script is another and was allowed to be.
        """
        first = not self._restored_once
        lost, seconds = 0, 0.0
        if first:
            lost, seconds = self._past.lost(
                stage, step, departure.checkpoint, checkpoints.scan(self.run.checkpoints)
            )
        self.epoch, self.step = epoch, step
        self._restored_once = True
        self.cadence.saved(epoch, step, time.monotonic())
        self._take_best(departure)
        name = departure.checkpoint.name if departure.checkpoint else None
        if name is not None:
            tell(
                f"attempt {self.attempt} goes on from {name}: epoch {epoch}, "
                f"step {step}; {lost} steps ({seconds:.1f} s) were lost."
            )
        self._note(
            "resumed",
            stage=stage,
            epoch=epoch,
            step=step,
            checkpoint=name,
            refused=[{"name": r.name, "reason": r.reason} for r in departure.refused],
            lost_steps=lost,
            lost_seconds=seconds,
            restored=restored,
            inexact=inexact,
            changed=self.changed,
            allowed=allowed,
            unfollowed=self._unfollowed,
            epochs=epochs,
        )
        self.beat("step")

    def stage_restored(self, stage: int, departure: Departure) -> None:
        """A stage that had ended was put back without training."""
        assert departure.checkpoint is not None
        at = departure.checkpoint.position
        self.epoch, self.step = at.epoch, at.step
        self._take_best(departure)
        tell(f"stage {stage} had ended; its result was restored from {departure.checkpoint.name}.")

    def _take_best(self, departure: Departure) -> None:
        """The best one so far is what the checkpoint says, where that watched the same metric."""
        if departure.checkpoint is None:
            return
        monitor = departure.checkpoint.read_manifest().get("monitor") or {}
        if monitor.get("name") == self.job.checkpoint.monitor:
            self._best, self._best_name = monitor.get("best"), monitor.get("best_name")

    # saving

    def epoch_ended(self, stage: int, epoch: int, seconds: float, logs: dict[str, Any]) -> bool:
        """Journals a finished epoch; True where it has the best value of the monitored metric."""
        self._note(
            "epoch_ended",
            stage=stage,
            epoch=epoch,
            step=self.step,
            seconds=round(seconds, 6),
            logs=logs,
        )
        monitor = self.job.checkpoint.monitor
        if monitor is None:
            return False
        value = logs.get(monitor)
        if not isinstance(value, int | float):
            self.warn(
                f"The monitored metric {monitor} is not among the logs "
                f"({', '.join(logs) or 'none'}).",
                "Correct `checkpoint.monitor`.",
            )
            return False
        return is_better(float(value), self._best, monitor, self.job.checkpoint.mode)

    def save(self, snapshot: Snapshot, why: str, *, best: bool = False) -> bool:
        """Commits a checkpoint and prunes older ones; False, and a word, where that fails.

        Args:
            why: start, epoch, best, steps, time, signal or end.
            best: it holds the best value of the monitored metric so far.
        """
        with self.deadline.saving:
            self.deadline.spare = None  # older than what is saved now
            return self._save(snapshot, why, best=best)

    def _save(self, snapshot: Snapshot, why: str, *, best: bool) -> bool:
        from rekindle.state.run import tensors

        began = time.monotonic()
        position = snapshot.position
        policy = self.job.checkpoint
        finite = snapshot.finite and _is_finite(snapshot.logs.get("loss"))
        if not finite and policy.non_finite == "hold":
            self._hold(position)
        self.beat("save")
        best = best and finite
        value, name = self._best, self._best_name
        if best:
            value, name = float(snapshot.logs[policy.monitor or ""]), position.name
        metadata = {"state": _json(snapshot.state)}
        manifest = {
            "attempt": self.attempt,
            "seed": self.job.seed,
            "why": why,
            "finite": finite,
            "logs": _finite_only(snapshot.logs),
            "monitor": {"name": policy.monitor, "best": value, "best_name": name},
            "fingerprint": snapshot.state.get("fingerprint", {}),
        }
        try:
            made = checkpoints.commit(
                self.run.checkpoints,
                position,
                lambda folder: tensors.save(folder / checkpoints.STATE, snapshot.tensors, metadata),
                manifest,
            )
        except OSError as error:
            # the next one may succeed; the training itself lives in memory
            tell(f"the checkpoint could not be saved: {error}")
            self._note("save_failed", error=str(error), epoch=position.epoch, step=position.step)
            self.cadence.saved(position.epoch, position.step, time.monotonic())
            self.beat("step")
            return False
        now = time.monotonic()
        # not before it is there: the one that was the best until now is protected by its name
        self._best, self._best_name = value, name
        self.deadline.save_seconds = now - began
        self.cadence.saved(position.epoch, position.step, now, now - began)
        self._verdicts[made.name] = None if finite else checkpoints.NON_FINITE
        if not finite:
            self.warn(
                "The loss or a variable is not finite (NaN or infinity).",
                "Checkpoints from here on are not used to go on; lower the learning rate "
                "or look at the data.",
            )
        self._note(
            "checkpoint_committed",
            name=made.name,
            stage=position.stage,
            epoch=position.epoch,
            step=position.step,
            end=position.end,
            bytes=made.bytes,
            why=why,
            seconds=round(now - began, 6),
            best=best,
            logs=snapshot.logs,
        )
        self._expected.add(made.name)
        self._prune(position.stage)
        self.beat("step")
        return True

    def stage_ended(self, stage: int, epoch: int) -> None:
        self._note("stage_ended", stage=stage, epoch=epoch, step=self.step)
        if stage in self._past.left:
            self.warn(
                f"Stage {stage} was left by an exception in an earlier attempt, and ended "
                "without one in this.",
                "What the script decides by is not part of the "
                "state: the result may differ from that of an undisturbed run.",
            )

    def _prune(self, stage: int) -> None:
        policy = self.job.checkpoint
        keep = 1 if policy.save_best_only and self._best_name else policy.keep
        protected = {self._best_name} if self._best_name else set()
        try:
            for gone in checkpoints.prune(
                self.run.checkpoints, keep, protected, stage=stage, verdicts=self._verdicts
            ):
                self._expected.discard(gone.name)
                self._note("checkpoint_pruned", name=gone.name)
        except OSError as error:
            tell(f"older checkpoints could not be removed: {error}")

    def _note(self, kind: str, **fields: Any) -> None:
        """Appends to the journal; on a full disk later, and never at the training's cost."""
        self._record.add(kind, **fields)

    def _hold(self, position: Position) -> NoReturn:
        """Ends the attempt for a person to look: what follows NaN is NaN."""
        last = next(
            (
                c.name
                for c in checkpoints.scan(self.run.checkpoints)
                if self._verdicts.get(c.name, "") is None
            ),
            None,
        )
        where = f"the last finite checkpoint is {last}" if last else "no checkpoint is finite"
        message = (
            f"The loss or a variable is not finite (NaN or infinity) at epoch "
            f"{position.epoch}, step {position.step}; {where}."
        )
        tell(message)
        self._note(
            "failed",
            error_type="NonFinite",
            message=message,
            hint="Lower the learning rate or look at the data, then `rekindle release`; "
            'checkpoint.non_finite = "continue" trains on instead.',
            traceback="",
            epoch=position.epoch,
            step=position.step,
            trained=self.trained,
        )
        shutdown.end(environment.EXIT_PERMANENT)


def _non_finite(tensors: "Tensors") -> str | None:
    """Looks again at what is about to be used: a flag in a manifest proves nothing."""
    import numpy as np

    for name, array in tensors.items():
        if (
            name.startswith(("model/", "optimizer"))
            and array.dtype.kind == "f"
            and not np.isfinite(array).all()
        ):
            return f"it holds non-finite variables ({name})"
    return None


def _json(value: Any) -> str:
    import json

    return json.dumps(value, separators=(",", ":"))


def _is_finite(loss: Any) -> bool:
    return not isinstance(loss, int | float) or math.isfinite(loss)


def _finite_only(logs: dict[str, Any]) -> dict[str, Any]:
    """Logs as strict JSON: what is no finite number becomes text."""
    return {
        key: value if not isinstance(value, float) or math.isfinite(value) else str(value)
        for key, value in logs.items()
    }
