"""Checkpoint store of one attempt: find a checkpoint to resume from, commit and prune."""

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rekindle.jobs.handover.order import Order
from rekindle.jobs.handover.snapshots import Keeper
from rekindle.jobs.job import Fork, Job, NewCode
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.saving import kept_files
from rekindle.jobs.saving.kept_files import KeptFiles
from rekindle.jobs.saving.save_policy import is_better
from rekindle.jobs.saving.writer import Writer
from rekindle.state.errors import CheckpointsUnreadable
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries
from rekindle.state.run.checkpoints import Checkpoint, Position, Refusal
from rekindle.state.run.training_state import TrainingState

if TYPE_CHECKING:
    from rekindle.jobs.attempt.attempt_log import AttemptLog
    from rekindle.jobs.capture.codec import Tensors
    from rekindle.jobs.weights.finiteness import NonFinite

_SCRATCH_HINT: Final = (
    "Copy a good checkpoint back, or start over with `rekindle retry JOB "
    "--from-scratch`, which deletes nothing."
)


@dataclass(frozen=True, slots=True)
class Older:
    """Hold an older checkpoint to resume from, so that enough steps are repeated to be compared.

    Attributes:
        checkpoint: the older one.
        newer: the newest one of the stage, which is left where it is.
        compare: how many steps are compared at least.
    """

    checkpoint: Checkpoint
    newer: Checkpoint
    compare: int

    def as_json(self) -> dict[str, Any]:
        """Return the field `instead_of` of a receipt."""
        step = self.newer.position.step
        return {"checkpoint": self.newer.name, "step": step, "compare": self.compare}


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """Hold what a stage resumes from.

    Attributes:
        checkpoint: the newest good one of the stage; None where the stage begins.
        refused: newer checkpoints, which were quarantined.
        tensors, state: content of the checkpoint.
        reopened: it is the end of the stage, which trains on from there.
        instead_of: the newer one that was passed over.
    """

    checkpoint: Checkpoint | None
    refused: list[Refusal] = field(default_factory=list)
    tensors: "Tensors" = field(default_factory=dict)
    state: TrainingState = field(default_factory=TrainingState)
    reopened: bool = False
    instead_of: Older | None = None

    def new_code(self, new: NewCode | None, attempt: int) -> dict[str, Any] | None:
        """Return the field `new_code` of a receipt; None where the code was not replaced.

        It is replaced for the first attempt with the new code, and for those that resume from a
        checkpoint of the earlier code.
        """
        if new is None or attempt < new.attempt:
            return None
        written = attempt
        if self.checkpoint is not None:
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                written = int(self.checkpoint.read_manifest()["attempt"])
        return new.receipt() if attempt == new.attempt or written < new.attempt else None

    def to_train_on(self, job: Job) -> "RestorePoint":
        """Return the end of a ``fit`` as a point within it, if that is to train on from there."""
        checkpoint = self.checkpoint
        if checkpoint is None or not checkpoint.position.end or "loop" in self.state:
            return self
        at = checkpoint.position
        extended = job.extension is not None and job.extension.reopens(at.stage, at.epoch)
        if not extended and not (
            job.fork is not None and job.fork.reopens(self.state.get("fork"), at.stage, at.epoch)
        ):
            return self
        state = self.state.copy()
        state["position"] = {**state["position"], "end": False}
        state["stop_training"] = False  # a callback may have ended it early
        if "iterator" in state and state["iterator"]["taken"] > 0:
            # the end of `fit` has dropped a pass that lasts over epochs
            state["iterator"] = {**state["iterator"], "live": True}
        return replace(self, state=state, reopened=True)

    def is_of(self, fork: Fork | None) -> bool:
        """Return whether a job of this fork did not save it, but began with it."""
        return (
            fork is not None
            and self.checkpoint is not None
            and fork.began_with(self.state.get("fork"))
        )

    def without_content(self) -> "RestorePoint":
        """Drop the content: it is a second copy of model and optimizer in memory."""
        return replace(self, tensors={}, state=TrainingState())


@dataclass(frozen=True)
class Snapshot:
    """Hold a state to be saved: arrays, and JSON for the rest.

    Training does not change it. The arrays may be values of variables, which take no memory
    until the training changes the variables.

    Attributes:
        judge: returns, of the arrays, which are not finite by design, and whether all others are
            finite; a checkpoint where they are not is kept for inspection and never resumed from.
        taken: when it was taken, in Unix seconds.
    """

    position: Position
    tensors: "Tensors"
    state: TrainingState
    logs: dict[str, Any]
    judge: "Callable[[Tensors], tuple[NonFinite, bool]]" = lambda tensors: ({}, True)
    taken: float = field(default_factory=time.time)

    @functools.cached_property
    def bytes(self) -> int:
        """Total size of the arrays."""
        return sum(array.nbytes for array in self.tensors.values())

    @functools.cached_property
    def held_bytes(self) -> int:
        """Size of the arrays that are in host memory, and not on an accelerator."""
        from rekindle.jobs.weights.device_copies import DeviceCopy

        arrays = self.tensors.values()
        return sum(array.nbytes for array in arrays if not isinstance(array, DeviceCopy))

    def fetch(self) -> None:
        """Move arrays that are still on an accelerator to host memory."""
        from rekindle.jobs.weights.device_copies import fetch

        fetch(self.tensors)

    @functools.cached_property
    def finite(self) -> bool:
        """False where loss or variables are NaN or infinite, but not by design."""
        self.state["non_finite"], finite = self.judge(self.tensors)
        return finite and _is_finite(self.logs.get("loss"))


class CheckpointStore:
    """Find, commit and prune the checkpoints of a run.

    Args:
        expected: names of checkpoints that exist according to the journal.
        keeper: writes them, if there is one.

    Attributes:
        writer: writes the checkpoints.
        kept: copies of the script's files, which checkpoints need.
        best_name: name of the best checkpoint so far.
    """

    def __init__(
        self,
        run: Run,
        job: Job,
        attempt: int,
        log: "AttemptLog",
        expected: set[str],
        keeper: Keeper | None = None,
    ) -> None:
        self.writer = Writer(run, log, keeper)
        self._run = run
        self._job = job
        self._attempt = attempt
        self._log = log
        self.kept = KeptFiles(run, job.checkpoint.keep_files)
        self._expected = expected
        self._by_stage: dict[int, list[Checkpoint]] | None = None
        self._best: float | None = None
        self.best_name: str | None = None
        # reason against each verified checkpoint, by name: None for a good one
        self._verdicts: dict[str, str | None] = {}
        # nothing is pruned before it is passed: the next attempt may resume from it
        self._unpassed: Position | None = None

    # resuming

    def restore_point(
        self,
        stage: int,
        read: "Callable[[Path], tuple[Tensors, TrainingState]]",
        older: Older | None = None,
    ) -> RestorePoint:
        """Read and verify the newest good checkpoint of a stage; quarantine newer ones.

        Args:
            older: the one that is read in its place, if both are good.

        Raises:
            CheckpointsUnreadable: this stage has checkpoints and none is good.
        """
        refused: list[Refusal] = []
        for checkpoint in self.of_stage(stage):
            reason = self.writer.verify(checkpoint)
            if reason is None and older is not None and checkpoint == older.newer:
                found = self.writer.verify(older.checkpoint) or _read_good(older.checkpoint, read)
                if not isinstance(found, str):
                    # the next attempt may resume from the newer one
                    self._unpassed = checkpoint.position
                    self._verdicts |= {checkpoint.name: None, older.checkpoint.name: None}
                    return RestorePoint(older.checkpoint, [], *found, instead_of=older)
                log_line(f"checkpoint {older.checkpoint.name} is not used for a proof: {found}.")
            if reason is None:
                found = _read_good(checkpoint, read)
                if not isinstance(found, str):
                    self._verdicts[checkpoint.name] = None
                    return RestorePoint(checkpoint, refused, *found)
                reason = found
            self._by_stage = None
            where = checkpoints.quarantine(checkpoint, reason)
            refused.append(Refusal(checkpoint.name, reason))
            log_line(f"checkpoint {checkpoint.name} refused: {reason}.")
            self._log.note(
                entries.checkpoint_refused(
                    name=checkpoint.name, reason=reason, quarantined_to=str(where)
                )
            )
        if refused:
            last = refused[-1]
            raise CheckpointsUnreadable(
                f"No checkpoint of {len(refused)} is good; the oldest, {last.name}: {last.reason}.",
                where=self._run.quarantine,
                hint=_SCRATCH_HINT,
            )
        self._check_expected(stage)
        return RestorePoint(None)

    def of_stage(self, stage: int) -> list[Checkpoint]:
        """List the checkpoints of a stage, newest first."""
        if self._by_stage is None:
            # once for hundreds of finished stages: each look would list those of all
            self._by_stage = {}
            for checkpoint in self.all():
                self._by_stage.setdefault(checkpoint.position.stage, []).append(checkpoint)
        return self._by_stage.get(stage, [])

    def _check_expected(self, stage: int) -> None:
        """Check that no checkpoint of the stage has disappeared.

        Raises:
            CheckpointsUnreadable: checkpoints that were committed are missing.
        """
        missing = sorted(
            name
            for name in self._expected
            if (p := Position.parse(name)) is not None and p.stage == stage
        )
        if missing:
            raise CheckpointsUnreadable(
                f"Committed checkpoints are missing: {missing[-1]} and {len(missing) - 1} more.",
                where=self._run.checkpoints,
                hint=_SCRATCH_HINT,
            )

    def take_best(self, point: RestorePoint) -> None:
        """Restore the best value so far from a checkpoint with the same monitored metric."""
        if point.checkpoint is None or self._job.checkpoint.monitor is None:
            return
        monitor = point.checkpoint.read_manifest().get("monitor") or {}
        if monitor.get("name") == self._job.checkpoint.monitor:
            self._best, self.best_name = monitor.get("best"), monitor.get("best_name")

    def all(self) -> list[Checkpoint]:
        """List the checkpoints of the run, newest first."""
        return checkpoints.scan(self._run.checkpoints)

    # saving

    def is_best(self, logs: dict[str, Any]) -> bool:
        """Return whether these logs have the best value of the monitored metric."""
        policy = self._job.checkpoint
        if policy.monitor is None:
            return False
        value = logs.get(policy.monitor)
        if not isinstance(value, int | float):
            self._log.warn(
                f"The monitored metric {policy.monitor} is not in the logs "
                f"({', '.join(logs) or 'none'}).",
                "Correct `checkpoint.monitor`.",
            )
            return False
        return is_better(float(value), self._best, policy.monitor, policy.mode)

    def commit(
        self, snapshot: Snapshot, why: str, *, best: bool, delay: float | None = None
    ) -> float | None:
        """Write a checkpoint, journal it and prune older ones.

        Args:
            why: start, epoch, best, steps, time, signal or end.
            best: it holds the best value of the monitored metric so far.
            delay: seconds by which a save delays the training, for later attempts.

        Returns:
            Seconds that it took; None on failure, which is journalled.
        """
        began = time.monotonic()
        self._by_stage = None
        position = snapshot.position
        finite = snapshot.finite
        best = best and finite
        value, name = self._best, self.best_name
        if best:
            value, name = float(snapshot.logs[self._job.checkpoint.monitor or ""]), position.name
        metadata = {"state": json.dumps(snapshot.state, separators=(",", ":"))}
        manifest = {
            "attempt": self._attempt,
            "seed": self._job.seed,
            "why": why,
            "taken": snapshot.taken,
            "finite": finite,
            "logs": _finite_only(snapshot.logs),
            "monitor": {"name": self._job.checkpoint.monitor, "best": value, "best_name": name},
            "fingerprint": snapshot.state.get("fingerprint", {}),
            "kept": kept_files.needed_by(snapshot.state.get("files", [])),
        }
        order = Order(position, manifest, why, best, snapshot.logs, began, delay)
        outcome = self.writer.write(order, snapshot.tensors, metadata)
        if outcome.error is not None:
            return None
        # not before the commit: a failed save must leave the best checkpoint protected from pruning
        self._best, self.best_name = value, name
        self._verdicts[position.name] = None if finite else checkpoints.NON_FINITE
        if not finite:
            self._log.warn(
                "The loss or a variable is not finite (NaN or infinity).",
                "Checkpoints from here on are not used to resume; lower the learning rate "
                "or check the data.",
            )
        self._expected.add(position.name)
        if self._unpassed is None or position > self._unpassed:
            self._unpassed = None
            self._prune(position.stage)
        return outcome.seconds

    def _prune(self, stage: int) -> None:
        policy = self._job.checkpoint
        keep = 1 if policy.save_best_only and self.best_name else policy.keep
        protected = {self.best_name} if self.best_name else set()
        try:
            for gone in checkpoints.prune(
                self._run.checkpoints, keep, protected, stage=stage, verdicts=self._verdicts
            ):
                self._expected.discard(gone.name)
                self._log.note(entries.checkpoint_pruned(name=gone.name))
            self.kept.collect()
        except (OSError, ValueError) as error:
            log_line(f"older checkpoints not removed: {error}")

    def report_non_finite(self, at: Position, *, trained: bool) -> None:
        """Journal the failure for which the daemon holds the job: loss or weights not finite."""
        last = next((c.name for c in self.all() if self._verdicts.get(c.name, "") is None), None)
        where = f"the last finite checkpoint is {last}" if last else "no checkpoint is finite"
        message = (
            f"The loss or a variable is not finite (NaN or infinity) at epoch "
            f"{at.epoch}, step {at.step}; {where}."
        )
        log_line(message)
        self._log.note(
            entries.failed(
                error_type="NonFinite",
                message=message,
                hint="Lower the learning rate or check the data, then `rekindle release`; "
                'checkpoint.non_finite = "continue" continues training instead.',
                traceback="",
                epoch=at.epoch,
                step=at.step,
                trained=trained,
            )
        )


def _read_good(
    checkpoint: Checkpoint, read: "Callable[[Path], tuple[Tensors, TrainingState]]"
) -> "tuple[Tensors, TrainingState] | str":
    """Read the content of a verified checkpoint, or return why it cannot be used."""
    try:
        tensors, state = read(checkpoint.state)
    except (OSError, ValueError, KeyError) as error:
        return f"its state cannot be read ({error})"
    return _non_finite(tensors, state) or (tensors, state)


def _non_finite(tensors: "Tensors", state: TrainingState) -> str | None:
    """Find variables that have diverged: the flag in the manifest may be wrong."""
    import numpy as np

    from rekindle.jobs.weights.finiteness import is_finite

    by_design = state.get("non_finite", {})
    for name, array in tensors.items():
        if (
            name.startswith(("model/", "optimizer"))
            and array.dtype.kind == "f"
            and not is_finite(array)
            and np.isnan(array).sum() > by_design.get(name.partition("/r")[0], -1)
        ):
            return f"it holds non-finite variables ({name})"
    return None


def _is_finite(loss: Any) -> bool:
    return not isinstance(loss, int | float) or math.isfinite(loss)


def _finite_only(logs: dict[str, Any]) -> dict[str, Any]:
    """Make logs strict JSON: non-finite numbers become text."""
    return {
        key: value if not isinstance(value, float) or math.isfinite(value) else str(value)
        for key, value in logs.items()
    }
