"""Engine of a stage: find, check, restore, capture and save its state.

It knows components and a session, but neither ``fit`` nor loops: both run on this one engine, so
that they have the same features.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import variables
from rekindle.jobs.capture.codec import Tensors, read_state
from rekindle.jobs.capture.component import Caveat, Component, Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.ends.limit import refuse_dropped
from rekindle.jobs.evidence.proof import Proof
from rekindle.jobs.files.stage_files import StageFiles
from rekindle.jobs.heartbeat import Plan
from rekindle.jobs.proof import older_checkpoint, stage_proof
from rekindle.jobs.proof.last_steps import LastSteps
from rekindle.jobs.resume import model_config, warm_start
from rekindle.jobs.resume.stage_state import Seekable, StageState
from rekindle.jobs.saving.checkpoint_store import Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.run.training_state import TrainingState


class RestorableStage:
    """Find, check, restore and capture the state of one stage, and save it.

    Args:
        number: 0-based number of the stage in the script.
        policy: decides when a checkpoint is due.

    Attributes:
        progress: position of the stage at the last boundary.
        files: what the stage writes; a component.
        proof: compares the steps that are repeated; set once the stage begins or is resumed.
        begun_at: the step at which it began.
        saved, saved_arrays: content of the checkpoint; empty if the stage begins, or once the
            content was dropped.
    """

    def __init__(
        self, session: Session, number: int, policy: SavePolicy, files: StageFiles
    ) -> None:
        self.session = session
        step = session.stages.table.step_before(number, session.progress.step)
        self.progress = Progress(number, step=step)
        self.begun_at = self.progress.step
        self._policy = policy
        with session.times.spending("restore"):
            older = older_checkpoint.choose(session, number, policy.policy)
            point = session.store.restore_point(number, _read, older)
        self._point = point.to_train_on(session.job)
        self.files = files
        if not self.has_ended:
            files.begin()
        self._state: StageState
        self._architecture = ""
        self.proof: Proof

    @property
    def saved(self) -> TrainingState:
        return self._point.state

    @property
    def saved_arrays(self) -> Tensors:
        return self._point.tensors

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that the stage is resumed from; None if it begins."""
        return self._point.checkpoint.name if self._point.checkpoint else None

    @property
    def has_ended(self) -> bool:
        """True if the checkpoint is the end of the stage."""
        checkpoint = self._point.checkpoint
        return checkpoint is not None and checkpoint.position.end and not self.is_reopened

    @property
    def is_reopened(self) -> bool:
        """True if the stage had ended and trains on from its end."""
        return self._point.reopened

    @property
    def is_inherited(self) -> bool:
        """True if the checkpoint is one of the job that this one was forked from."""
        return self._point.is_of(self.session.job.fork)

    def drop_saved(self) -> None:
        """Drop the content of the checkpoint: it is a second copy of model and optimizer."""
        self._point = self._point.without_content()

    # opening

    def check(
        self, models: ModelState, data: Seekable, others: Sequence[Component], kind: str
    ) -> None:
        """Set the components and compare them with the checkpoint; see :class:`StageState`."""
        others = [*others, self.files]  # last: the others flush the files that they write
        self._state = StageState(self.session, self._point, models, data, others, kind)
        if self.checkpoint is None or (self._state.allowed is not None and not self.is_inherited):
            self.session.stages.ends.require_weights()

    def show(self) -> None:
        """Restore only the models and pass them on, in an export of this stage."""
        give = self.session.wanted(self.progress.stage)
        if give is not None and self.checkpoint is not None:
            refuse_dropped(self.checkpoint, self.saved)
            give(self._state.restored_models(self._point))

    def begin(self, epoch: int, *, plan: Plan) -> None:
        """Begin the stage, and save its first checkpoint.

        Args:
            plan: how long the whole stage will be.
        """
        stage, models = self.progress.stage, self._state.models
        self._architecture = model_config.store(self.session.run, models.models)
        begun = warm_start.apply(self.session, stage, models.models)
        self.progress = Progress(stage, epoch, self.begun_at)
        snapshot = self.capture()
        self._write_receipt(begun, plan)
        self.proof = stage_proof.begin(self.session, self.progress, models)
        if models.is_complete():
            self.save("start", snapshot)
        self._open_grace_period()

    def resume(self, *, plan: Plan, after_restore: Callable[[], None] = lambda: None) -> None:
        """Restore the checkpoint, the data first, and write the receipt.

        Args:
            after_restore: called before the receipt is written.
        """
        self._architecture = model_config.store(self.session.run, self._state.models.models)
        self.session.grace.watch()
        self._restore_from()
        with self.session.times.spending("restore"):
            after_restore()
            self._state.compare(self._point)
        repeated = self._write_receipt(self._state.receipt(self._point), plan)
        self.proof = stage_proof.resume(
            self.session,
            self.progress,
            self._point,
            repeated,
            self._state.models,
            allowed=self._state.allowed,
            caveats=lambda: self._state.caveats.texts,
            gaps=lambda: self._state.gaps,
        )
        self._open_grace_period()

    def restore_ended(self, seek: Callable[[], None] | None = None) -> None:
        """Restore a finished stage, without training.

        Args:
            seek: restores the data as of the end of the stage; by default as for a resume.
        """
        self._restore_from(seek)
        self._state.compare_models(self._point)
        self.files.put_back(self.saved, ended=True)
        self.session.stage_restored(self.progress.stage, self._point)

    def _restore_from(self, seek: Callable[[], None] | None = None) -> None:
        position = self.saved["position"]
        self.begun_at = position["base"]
        self.progress = Progress(
            position["stage"], position["epoch"], position["step"], position["epoch_step"]
        )
        # no batch is trained yet, so SIGTERM can end the process at once: reading may take hours
        shutdown.mark_clean(True)
        with self.session.times.spending("seek"):
            (seek or (lambda: self._state.seek(self._point)))()
        shutdown.mark_clean(False)
        self.restore()
        self._state.report_unused_rates(self._point, self.session)

    def _write_receipt(self, restored: list[str], plan: Plan) -> int:
        state = self._state
        state.look_for_caveats()
        repeated = self.session.resumed(
            self._point,
            self.progress,
            restored=restored,
            inexact=state.caveats.texts,
            allowed=None if self.is_inherited else state.allowed,
            plan=plan,
        )
        self._policy.saved(self.progress.epoch, self.progress.step, time.monotonic())
        state.caveats.receipt_written()
        return repeated

    def _open_grace_period(self) -> None:
        self.session.grace.watch()
        if shutdown.requested():
            shutdown.exit_saved()

    # the state

    def restore(self) -> None:
        """Restore everything but the data from the checkpoint."""
        with self.session.times.spending("restore"):
            self._state.restore(self._point)

    def restore_again(self) -> None:
        """Restore within an epoch, once callbacks or code before the batches have run again."""
        with self.session.times.spending("restore"):
            self._state.restore_again(self._point)

    def epoch_begins(self, *, again: bool) -> None:
        """Keep what is small of the state, or restore it as of the start of the epoch.

        Args:
            again: the epoch had begun before the checkpoint.
        """
        if again:
            with self.session.times.spending("restore"):
                self._state.epoch_resumed(self._point)
        else:
            self._state.epochs.begin()

    def report(self, caveats: Iterable[Caveat]) -> None:
        """Report each caveat once, in receipts or as a warning."""
        self._state.caveats.add(caveats)

    def stand(self, progress: Progress) -> None:
        """Set the position of the stage, without a boundary between two steps."""
        self.progress = progress

    def capture(
        self,
        *,
        ended: bool = False,
        logs: Json | None = None,
        replaced: TrainingState | None = None,
    ) -> Snapshot:
        """Copy the current state; arguments as of :meth:`StageState.capture`.

        Args:
            ended: the stage is over.
        """
        at = self.progress
        if ended:
            at = dataclasses.replace(at, epoch_step=0, ended=True)
        known: TrainingState = {"architecture": self._architecture}
        replaced = known | (replaced or {})
        with self.session.times.spending("save"):
            # files that it refers to may go once an earlier one is written
            self.session.saves.settle()
            return self._state.capture(at, self.begun_at, logs=logs, replaced=replaced)

    def save(self, why: str, snapshot: Snapshot | None = None, *, best: bool = False) -> bool:
        """Commit a checkpoint of the current state, or of a snapshot; return whether it is saved.

        Args:
            why: start, epoch, best, steps, time, signal or end.
        """
        stage_proof.hold_if_different(self.proof, self.progress)
        snapshot = snapshot or self.capture()
        step = snapshot.position.step
        begins = why == "start"
        if not begins:
            self.proof.taken()
        with self.session.times.spending("save"):
            saved = self.session.saves.save(
                snapshot,
                why,
                best=best,
                policy=self._policy,
                then=lambda: None if begins else self.proof.saved(step),
            )
        if why in ("signal", "end"):
            self.proof.finish()  # the process may end at any moment, or the stage is over
        return saved


class StageEngine(RestorableStage):
    """Resume one stage, and save it at its boundaries."""

    def __init__(
        self, session: Session, number: int, policy: SavePolicy, files: StageFiles
    ) -> None:
        super().__init__(session, number, policy, files)
        self._step_began = 0.0
        self._last_steps = LastSteps(session.run.root, session.grace, session.store.writer.socket)

    def exit_saved(self, snapshot: Snapshot | None = None) -> None:
        """Save, and end the process unless the script's own SIGTERM handler does."""
        self.save("signal", snapshot)
        shutdown.exit_saved()

    def end_last_steps(self) -> None:
        """End the process before code that is no step, if all is saved and it was asked to end."""
        self._last_steps.end()

    def step_begins(self) -> None:
        """Mark that memory equals the last checkpoint while the first step is compiled."""
        self._step_began = time.monotonic()
        shutdown.mark_clean(True)

    def step_done(self, progress: Progress, *, exact: bool = True) -> None:
        """Finish a step, in the main thread: save if due, stop if requested.

        Args:
            exact: the stage can be resumed here, not only at the end of an epoch.
        """
        self.progress = progress
        session = self.session
        session.advance(progress)
        session.beat("step")
        writing = session.saves.is_writing
        session.saves.poll()
        now = time.monotonic()
        seconds = now - self._step_began if self._step_began else 0.0
        if seconds:
            self._policy.costs.stepped(seconds, writing=writing)
        if self._last_steps.have_begun:
            self._last_steps.step_done(progress.step, seconds)
            self._step_began = now
            return
        if session.must_stop():
            # if not exact, this epoch is repeated
            self._leave(seconds, saved=exact and self.save("signal"))
            now = time.monotonic()
        elif exact and self._policy.due_in_epoch(progress.step, now):
            saved = self._save_due("steps" if self._policy.policy.every_steps else "time")
            if shutdown.requested():
                self._leave(seconds, saved=saved)  # SIGTERM arrived during the save
            now = time.monotonic()
        elif exact and session.grace.is_long(seconds):
            snapshot = self.capture()
            snapshot.fetch()  # while the next execution runs, its device moves nothing
            session.grace.keep(lambda: self.save("signal", snapshot))
            now = time.monotonic()
        self._step_began = now

    def _save_due(self, why: str, *, logs: Json | None = None, best: bool = False) -> bool:
        """Save, and record how long the training waits for it."""
        began = time.monotonic()
        saved = self.save(why, self.capture(logs=logs), best=best)
        self._policy.costs.stalled(time.monotonic() - began)
        return saved

    def _leave(self, seconds: float, *, saved: bool) -> None:
        """End the process, after a few steps more where there is time for them.

        Args:
            seconds: duration of the last step.
        """
        self.proof.finish()
        asked = self.session.saves.settle() and saved and shutdown.requested()
        at = self.progress.step
        if not asked or not self._last_steps.begin(at, seconds, self._state.cut_back()):
            shutdown.exit_saved()

    def epoch_done(self, progress: Progress, seconds: float, logs: Json) -> None:
        """Finish an epoch: journal it, save if due, stop if requested."""
        self.end_last_steps()
        self.progress = progress
        session = self.session
        session.advance(progress)
        if not shutdown.answered():  # else the script may have ended the epoch early
            self.proof.epoch(progress.step, progress.epoch - 1)
        best = session.epoch_ended(progress.stage, progress.epoch - 1, seconds, logs)
        asked = session.must_stop()
        due = self._policy.due_after_epoch(progress.epoch, progress.step, time.monotonic())
        if best or asked or due:
            why = "signal" if asked else "best" if best else "epoch"
            self._save_due(why, logs=logs, best=best)
        if asked or shutdown.requested():
            # a SIGTERM that arrived during the save above still needs a save with why=signal
            if not asked:
                self.save("signal", self.capture(logs=logs))
            shutdown.exit_saved()
        self._step_began = 0.0
        session.beat("step")

    def end(self, snapshot: Snapshot | None = None) -> None:
        """Commit the end of the stage."""
        self.end_last_steps()
        snapshot = snapshot or self.capture(ended=True)
        at = snapshot.position
        self.session.advance(Progress.at(at), trained=False)
        self.save("end", snapshot)
        self.session.stage_ended(at.stage, at.epoch)


def _read(path: Path) -> tuple[Tensors, TrainingState]:
    return read_state(path, variables.mapped())
