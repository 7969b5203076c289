"""The engine of a stage: find, check, restore, capture and save its state.

It knows components and a session, and neither ``fit`` nor loops: both are stages of this one
engine, so that what one of them can do the other can, too.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.checkpoint_store import Snapshot
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.save_policy import SavePolicy
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import fingerprint
from rekindle.jobs.capture.codec import Tensors, read_state
from rekindle.jobs.capture.component import Caveat, Component, Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.resume import model_config, warm_start


class Seekable(Component, Protocol):
    """The component that is the data of a stage."""

    def seek(self, saved: Json, arrays: Tensors, *, lenient: bool) -> None:
        """Go to the batch of the checkpoint; before everything else is restored."""
        ...


class StageEngine:
    """Resume and save one stage.

    Args:
        number: 0-based, of the stage in the script.
        policy: says when a checkpoint is due.

    Attributes:
        progress: where the stage is, as of the last boundary.
        begun_at: the step at which it began.
        allowed: what of the script is another than before and was allowed to be, in words.
    """

    def __init__(self, session: Session, number: int, policy: SavePolicy) -> None:
        self.session = session
        self.progress = Progress(number, step=session.progress.step)
        self.allowed: str | None = None
        self._policy = policy
        self._point = session.store.restore_point(number, read_state)
        self._components: Sequence[Component] = ()
        self._models: ModelState
        self._data: Seekable
        self._fingerprint: Json = {}
        self._caveats = _Caveats(session, self._point.state.get("inexact", []))
        self._step_began = 0.0
        self.begun_at = self.progress.step

    # what is saved

    @property
    def saved(self) -> Json:
        """The JSON of the checkpoint; empty where the stage begins, or once it was dropped."""
        return self._point.state

    @property
    def saved_arrays(self) -> Tensors:
        """The arrays of the checkpoint."""
        return self._point.tensors

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that the stage resumed from; None where it began."""
        return self._point.checkpoint.name if self._point.checkpoint else None

    @property
    def has_ended(self) -> bool:
        """Whether the checkpoint is that of the end of the stage."""
        return self.checkpoint is not None and bool(self._position["end"])

    @property
    def _position(self) -> Json:
        position: Json = self._point.state["position"]
        return position

    def drop_saved(self) -> None:
        """Drop the content of the checkpoint: a second copy of model and optimizer."""
        self._point = self._point.without_content()

    # opening

    def check(
        self, models: ModelState, data: Seekable, others: Sequence[Component], kind: str
    ) -> None:
        """Take the components, and compare them with the checkpoint.

        Args:
            others: in the order in which they are restored, after models; data comes last.
            kind: fit or loop.

        Raises:
            StateMismatch: the script is another than that of the checkpoint.
        """
        self._models, self._data = models, data
        self._components = [models, *others, data]
        self._fingerprint = fingerprint.merged([c.fingerprint() for c in self._components])
        if self.checkpoint is None:
            return
        was = "loop" if "loop" in self.saved else "fit"
        if was != kind:
            raise fingerprint.refuse(f"this stage was a {was} and is a {kind}")
        found = fingerprint.compare(self._fingerprint, self.saved["fingerprint"])
        for component in self._components:
            found = found or component.difference(self.saved)
        if found is not None and not self.session.job.allow_change:
            raise fingerprint.refuse(found)
        self.allowed = found

    def show(self) -> None:
        """In an export of this stage, restore the models alone and give them away."""
        give = self.session.wanted(self.progress.stage)
        if give is not None and self.checkpoint is not None:
            self._models.restore(self.saved, self.saved_arrays, lenient=False)
            give(self._models.models)

    def begin(self, epoch: int, *, epochs: int | None) -> None:
        """Begin the stage, and save its first checkpoint.

        Args:
            epochs: how many it has in all, where that is known.

        Raises:
            UsageError: a component cannot be saved.
        """
        stage = self.progress.stage
        model_config.store(self.session.run, stage, self._models.models)
        begun = warm_start.apply(self.session, stage, self._models.models)
        self.progress = Progress(stage, epoch, self.begun_at)
        snapshot = self.capture()
        self._note_receipt(begun, epochs)
        if self._models.is_complete():
            self.save("start", snapshot)
        self._open_grace_period()

    def resume(
        self, *, epochs: int | None, after_restore: Callable[[], None] = lambda: None
    ) -> None:
        """Restore the checkpoint, with the data first, and write the receipt.

        Args:
            after_restore: called before the receipt is written.
        """
        model_config.store(self.session.run, self.progress.stage, self._models.models)
        self.take_position()
        # the state is the one on disk until a batch is trained, and reading may take hours
        shutdown.mark_clean(True)
        self.session.grace.watch()
        self._data.seek(self.saved, self.saved_arrays, lenient=self.allowed is not None)
        shutdown.mark_clean(False)
        self.restore()
        self.report_unused_rates()
        after_restore()
        self._note_receipt([w for c in self._components for w in c.receipt(self.saved)], epochs)
        self._open_grace_period()

    def restore_ended(self, seek: Callable[[], None]) -> None:
        """Restore a stage that had ended, without training.

        Args:
            seek: leaves the data as the stage has left it.
        """
        self.take_position()
        shutdown.mark_clean(True)
        seek()
        shutdown.mark_clean(False)
        self.restore()
        self.report_unused_rates()
        self.session.stage_restored(self.progress.stage, self._point)

    def stand(self, progress: Progress) -> None:
        """Take note of where the stage is, without a boundary between two steps."""
        self.progress = progress

    def take_position(self) -> None:
        """Stand where the checkpoint does."""
        position = self._position
        self.begun_at = position["base"]
        self.progress = Progress(
            position["stage"], position["epoch"], position["step"], position["epoch_step"]
        )

    def _note_receipt(self, restored: list[str], epochs: int | None) -> None:
        self._caveats.add(one for c in self._components for one in c.caveats())
        self.session.resumed(
            self._point,
            self.progress,
            restored=restored,
            inexact=self._caveats.texts,
            allowed=self.allowed,
            epochs=epochs,
        )
        self._policy.saved(self.progress.epoch, self.progress.step, time.monotonic())
        self._caveats.receipt_written()

    def _open_grace_period(self) -> None:
        self.session.grace.watch()
        if shutdown.requested():
            shutdown.exit_saved()

    # restoring

    def restore(self) -> None:
        """Put everything but the data back to the checkpoint."""
        lenient = self.allowed is not None
        for component in self._components:
            component.restore(self.saved, self.saved_arrays, lenient=lenient)
        self._report_new_caveats()

    def report_unused_rates(self) -> None:
        """Report which learning rate of the script is not used, since the restored one is."""
        if self.allowed is not None:
            return  # a person was told, and has allowed it
        saved = self.saved["fingerprint"].get("rates", {})  # older ones have none
        for text in fingerprint.unused_rates(
            self._fingerprint["rates"], saved, self._models.rates()
        ):
            self.session.note_change(text)
            self.session.warn(
                f"{text[:1].upper()}{text[1:]}.",
                "If you have changed it: set it in a callback or in the loop, or start over with "
                "`rekindle retry JOB --from-scratch`.",
            )
        # later attempts are told of the same change, too
        self._fingerprint["rates"] = {**self._fingerprint["rates"], **saved}

    # capturing

    def report(self, caveats: Iterable[Caveat]) -> None:
        """Report once what cannot be restored exactly, in receipts and to people."""
        self._caveats.add(caveats)

    def capture(
        self, *, ended: bool = False, logs: Json | None = None, replaced: Json | None = None
    ) -> Snapshot:
        """Copy everything, as of now.

        Args:
            ended: the stage is over.
            logs: to be written beside the state; by default those of the state.
            replaced: entries of the state to take in place of the present ones.
        """
        at = self.progress
        arrays: Tensors = {}
        state: Json = {}
        for component in self._components:
            state |= component.capture(arrays)
        self._report_new_caveats()
        state |= {
            "position": {
                "stage": at.stage,
                "epoch": at.epoch,
                "step": at.step,
                "epoch_step": 0 if ended else at.epoch_step,
                "base": self._base(),
                "end": ended,
            },
            "inexact": self._caveats.texts,
            "fingerprint": self._fingerprint,
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        }
        position = Progress(at.stage, at.epoch, at.step, ended=ended).position
        return Snapshot(
            position,
            arrays,
            state | (replaced or {}),
            state["logs"] if logs is None else logs,
            finite=self._models.is_finite(arrays),
        )

    def _base(self) -> int:
        """The step at which the epoch began; of loops, the stage."""
        is_loop = self._fingerprint["plan"].get("the stage") is not None
        return self.begun_at if is_loop else self.progress.step - self.progress.epoch_step

    def _report_new_caveats(self) -> None:
        self._caveats.add(one for c in self._components for one in c.caveats())

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


class _Caveats:
    """Keep what cannot be restored exactly, for receipts; report late ones to people.

    Args:
        texts: those of earlier attempts.
    """

    def __init__(self, session: Session, texts: Iterable[str]) -> None:
        self._session = session
        self._texts = dict.fromkeys(texts)
        self._late = False

    @property
    def texts(self) -> list[str]:
        return list(self._texts)

    def receipt_written(self) -> None:
        """From now on people have to be told: the receipt is out."""
        self._late = True

    def add(self, caveats: Iterable[Caveat]) -> None:
        for caveat in caveats:
            text = str(caveat)
            if text in self._texts:
                continue
            self._texts[text] = None
            if self._late:
                remedy = f"{caveat.remedy[:1].upper()}{caveat.remedy[1:]}"
                self._session.warn(f"Not exact after a relaunch: {caveat.what}.", f"{remedy}.")
