"""The engine of a stage: find, check, restore, capture and save its state.

It knows components and a session, and neither ``fit`` nor loops: both are stages of this one
engine, so that what one of them can do the other can, too.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.checkpoint_store import Snapshot
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.save_policy import SavePolicy
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture.codec import Tensors, read_state
from rekindle.jobs.capture.component import Caveat, Component, Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.resume import model_config, warm_start
from rekindle.jobs.resume.stage_state import Seekable, StageState


class StageEngine:
    """Resume and save one stage.

    Args:
        number: 0-based, of the stage in the script.
        policy: says when a checkpoint is due.

    Attributes:
        progress: where the stage is, as of the last boundary.
        begun_at: the step at which it began.
        saved, saved_arrays: content of the checkpoint; empty where the stage begins, or once it
            was dropped.
    """

    def __init__(self, session: Session, number: int, policy: SavePolicy) -> None:
        self.session = session
        self.progress = Progress(number, step=session.progress.step)
        self.begun_at = self.progress.step
        self._policy = policy
        self._point = session.store.restore_point(number, read_state)
        self._state: StageState
        self._step_began = 0.0

    @property
    def saved(self) -> Json:
        return self._point.state

    @property
    def saved_arrays(self) -> Tensors:
        return self._point.tensors

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that the stage resumed from; None where it began."""
        return self._point.checkpoint.name if self._point.checkpoint else None

    @property
    def has_ended(self) -> bool:
        """Whether the checkpoint is that of the end of the stage."""
        return self._point.checkpoint is not None and self._point.checkpoint.position.end

    def drop_saved(self) -> None:
        """Drop the content of the checkpoint: a second copy of model and optimizer."""
        self._point = self._point.without_content()
        self._state.drop_saved()

    # opening

    def check(
        self, models: ModelState, data: Seekable, others: Sequence[Component], kind: str
    ) -> None:
        """Take the components and compare them with the checkpoint, as :class:`StageState` does."""
        self._state = StageState(self.session, self._point, models, data, others, kind)

    def show(self) -> None:
        """In an export of this stage, restore the models alone and give them away."""
        give = self.session.wanted(self.progress.stage)
        if give is not None and self.checkpoint is not None:
            models = self._state.models
            models.restore(self.saved, self.saved_arrays, lenient=False)
            give(models.models)

    def begin(self, epoch: int, *, epochs: int | None) -> None:
        """Begin the stage, and save its first checkpoint.

        Args:
            epochs: how many it has in all, where that is known.
        """
        stage, models = self.progress.stage, self._state.models
        model_config.store(self.session.run, stage, models.models)
        begun = warm_start.apply(self.session, stage, models.models)
        self.progress = Progress(stage, epoch, self.begun_at)
        snapshot = self.capture()
        self._write_receipt(begun, epochs)
        if models.is_complete():
            self.save("start", snapshot)
        self._open_grace_period()

    def resume(
        self, *, epochs: int | None, after_restore: Callable[[], None] = lambda: None
    ) -> None:
        """Restore the checkpoint, with the data first, and write the receipt.

        Args:
            after_restore: called before the receipt is written.
        """
        model_config.store(self.session.run, self.progress.stage, self._state.models.models)
        self.session.grace.watch()
        self._restore_from(self._state.seek)
        after_restore()
        self._write_receipt(self._state.receipt(), epochs)
        self._open_grace_period()

    def restore_ended(self, seek: Callable[[], None] | None = None) -> None:
        """Restore a stage that had ended, without training.

        Args:
            seek: leaves the data as the stage has left it, where that is not where it ended.
        """
        self._restore_from(seek or self._state.seek)
        self.session.stage_restored(self.progress.stage, self._point)

    def _restore_from(self, seek: Callable[[], None]) -> None:
        position = self.saved["position"]
        self.begun_at = position["base"]
        self.progress = Progress(
            position["stage"], position["epoch"], position["step"], position["epoch_step"]
        )
        # the state is the one on disk until a batch is trained, and reading may take hours
        shutdown.mark_clean(True)
        seek()
        shutdown.mark_clean(False)
        self._state.restore()
        for text in self._state.unused_rates():
            self.session.note_change(text)
            self.session.warn(
                f"{text[:1].upper()}{text[1:]}.",
                "If you have changed it: set it in a callback or in the loop, or start over with "
                "`rekindle retry JOB --from-scratch`.",
            )

    def _write_receipt(self, restored: list[str], epochs: int | None) -> None:
        state = self._state
        state.look_for_caveats()
        self.session.resumed(
            self._point,
            self.progress,
            restored=restored,
            inexact=state.caveats.texts,
            allowed=state.allowed,
            epochs=epochs,
        )
        self._policy.saved(self.progress.epoch, self.progress.step, time.monotonic())
        state.caveats.receipt_written()

    def _open_grace_period(self) -> None:
        self.session.grace.watch()
        if shutdown.requested():
            shutdown.exit_saved()

    # the state

    def restore(self) -> None:
        """Put everything but the data back to the checkpoint, once more."""
        self._state.restore()

    def report(self, caveats: Iterable[Caveat]) -> None:
        """Report once what cannot be restored exactly, in receipts and to people."""
        self._state.caveats.add(caveats)

    def stand(self, progress: Progress) -> None:
        """Take note of where the stage is, without a boundary between two steps."""
        self.progress = progress

    def capture(
        self, *, ended: bool = False, logs: Json | None = None, replaced: Json | None = None
    ) -> Snapshot:
        """Copy everything, as of now; arguments as of :meth:`StageState.capture`.

        Args:
            ended: the stage is over.
        """
        at = self.progress
        if ended:
            at = dataclasses.replace(at, epoch_step=0, ended=True)
        return self._state.capture(at, self.begun_at, logs=logs, replaced=replaced or {})

    # saving

    def save(self, why: str, snapshot: Snapshot | None = None, *, best: bool = False) -> None:
        """Commit a checkpoint of now, or of a snapshot.

        Args:
            why: start, epoch, best, steps, time, signal or end.
        """
        self.session.save(snapshot or self.capture(), why, best=best, policy=self._policy)

    def exit_saved(self, snapshot: Snapshot | None = None) -> None:
        """Save and end the process, to be resumed, unless the script does so itself."""
        self.save("signal", snapshot)
        shutdown.exit_saved()

    def step_begins(self) -> None:
        """Mark that memory equals the last checkpoint while a first step is compiled."""
        self._step_began = time.monotonic()
        shutdown.mark_clean(True)

    def step_done(self, progress: Progress, *, exact: bool = True) -> None:
        """Stand between two steps, in the main thread: save where due, stop where asked.

        Args:
            exact: a stage can be resumed here, and not only at the end of its epoch.
        """
        self.progress = progress
        session = self.session
        session.advance(progress)
        session.beat("step")
        if session.must_stop():
            if exact:
                self.exit_saved()
            else:
                shutdown.exit_saved()  # this epoch is repeated
        now = time.monotonic()
        if exact and self._policy.due_in_epoch(progress.step, now):
            self.save("steps" if self._policy.policy.every_steps else "time")
            if shutdown.requested():
                shutdown.exit_saved()  # it came while that was written
            now = time.monotonic()
        elif exact and self._step_began and session.grace.is_long(now - self._step_began):
            snapshot = self.capture()
            session.grace.keep(lambda: self.save("signal", snapshot))
            now = time.monotonic()
        self._step_began = now

    def epoch_done(self, progress: Progress, seconds: float, logs: Json) -> None:
        """Stand between two epochs; arguments as of :meth:`step_done`."""
        self.progress = progress
        session = self.session
        session.advance(progress)
        best = session.epoch_ended(progress.stage, progress.epoch - 1, seconds, logs)
        asked = session.must_stop()
        due = self._policy.due_after_epoch(progress.epoch, progress.step, time.monotonic())
        if best or asked or due:
            why = "signal" if asked else "best" if best else "epoch"
            self.save(why, self.capture(logs=logs), best=best)
        if asked or shutdown.requested():
            # where it came while that was written there is the less to be written
            if not asked:
                self.save("signal", self.capture(logs=logs))
            shutdown.exit_saved()
        self._step_began = 0.0
        session.beat("step")

    def end(self, snapshot: Snapshot | None = None) -> None:
        """Commit the end of the stage."""
        snapshot = snapshot or self.capture(ended=True)
        at = snapshot.position
        self.session.advance(Progress(at.stage, at.epoch, at.step), trained=False)
        self.save("end", snapshot)
        self.session.stage_ended(at.stage, at.epoch)
