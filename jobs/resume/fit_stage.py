"""One call of ``fit`` as a stage: its arguments, its callbacks, and what Keras calls within it."""

import sys
import time
from typing import Any

import keras

from rekindle.jobs import keras_compat
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.save_policy import SavePolicy
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import tensorboard_files, variables
from rekindle.jobs.capture.callbacks import CallbackStates
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.data import determinism
from rekindle.jobs.data.fit_data import FitData
from rekindle.jobs.journal_writer import tell
from rekindle.jobs.resume import fit_build
from rekindle.jobs.resume.hook import Hook
from rekindle.jobs.resume.stage import StageEngine
from rekindle.jobs.resume.validation import Validation
from rekindle.state.errors import StateMismatch


class FitStage:
    """Run one call of ``fit``: Keras' own loop, begun where the checkpoint was.

    Args:
        number: 0-based, of the stage in the script.
        arguments: all of ``fit``, by name.
    """

    def __init__(
        self, session: Session, number: int, model: Any, arguments: dict[str, Any]
    ) -> None:
        self._session = session
        self._model = model
        self._arguments = arguments
        self._engine = StageEngine(session, number, SavePolicy(session.job.checkpoint))
        self._callbacks = CallbackStates(
            fit_build.user_callbacks(arguments["callbacks"], session.warn),
            lambda: tensorboard_files.before(session.run.journal, session.attempt),
        )
        self._data = FitData(
            (session.job.seed, number), arguments["validation_data"], self._seeks, self._boundary
        )
        self._random = RandomState(self._data.seed_generators, self._data.drawn)
        self._models = ModelState(
            {"model": model},
            lambda: variables.optimizers(model),
            lambda: variables.of_model(model),
            self._random,
        )
        self._run = _FitRun(model, arguments)
        self._validation = Validation(self._engine, model, self._random, self._data)
        self._epoch_began = 0.0
        self._traced = False

    def run(self) -> Any:
        """Run Keras' loop, or restore what it left behind; returns the History."""
        engine, number = self._engine, self._engine.progress.stage
        if engine.checkpoint is not None:
            if self._session.wanted(number) is not None:
                self._open(self._make_training())
                engine.show()
            self._check_callbacks()
            if engine.has_ended:
                return self._restore_ended()
            self._callbacks.prepare(engine.saved)
            # also 0, which Keras would take for none: a script that resumes itself says another
            self._arguments["initial_epoch"] = engine.saved["position"]["epoch"]
        hook = Hook(self)
        arguments = {
            **self._arguments,
            "callbacks": fit_build.with_hook(
                self._arguments["callbacks"], self._callbacks.callbacks, hook, self._model
            ),
        }
        before = keras_compat.initial_epoch(self._model)
        try:
            with keras_compat.epoch_iterator(self._make_iterator):
                history = keras_compat.PLAIN_FIT(self._model, **arguments)
        finally:
            self._data.close()
            keras_compat.set_initial_epoch(self._model, before)
            self._run.forget_carried_logs()
        if shutdown.answered() and (
            self._model.stop_training or engine.progress.epoch < self._arguments["epochs"]
        ):
            self._session.warn(
                "`fit` ended early after the script handled SIGTERM itself: this "
                "training is interrupted, not finished.",
                "The next attempt resumes it from its latest checkpoint.",
            )
            return history
        engine.end()
        return history

    def _check_callbacks(self) -> None:
        """
        Raises:
            StateMismatch: before a callback has opened a file, which may cut it.
        """
        saved = self._engine.saved
        found = self._callbacks.difference(saved) if "callbacks" in saved else None
        if found is not None and not self._session.job.allow_change:
            raise StateMismatch(
                f"The script has changed since the checkpoint was made: {found}.",
                hint="Use the same callbacks in the same order in every attempt, or accept the "
                "change with `rekindle retry JOB --allow-change`: their state then starts over.",
            )

    def _restore_ended(self) -> Any:
        """Restore what the stage left behind and return its History, without training."""
        engine, data = self._engine, self._data
        train = self._make_training()
        self._open(train)

        def seek() -> None:
            data.restore_ended(engine.saved, engine.saved_arrays)
            fit_build.introduce(
                self._callbacks.callbacks, self._model, self._arguments, train.num_batches
            )

        engine.restore_ended(seek)
        history = next(
            c for c in self._callbacks.callbacks if isinstance(c, keras.callbacks.History)
        )
        self._model.history = history
        return history

    # iterators

    def _make_iterator(self, **arguments: Any) -> Any:
        """Stand in for ``TFEpochIterator`` while the stage runs."""
        if sys._getframe(1).f_code.co_name != "fit":
            return keras_compat.PLAIN_ITERATOR(**arguments)  # evaluate or predict of a callback
        if self._data.train is None:
            return self._make_training(arguments)
        return self._data.make_validation(arguments)

    def _make_training(self, arguments: Json | None = None) -> Any:
        arguments = arguments or fit_build.iterator_arguments(self._model, self._arguments)
        return self._data.make_training(arguments, self._engine.saved, self._engine.saved_arrays)

    def _seeks(self) -> None:
        """Between two pieces of data that is read again: nothing is there yet to be saved."""
        self._session.beat("seek")
        if shutdown.requested():
            shutdown.exit_saved()

    # what Keras calls, by the hook and the iterator

    def begin(self) -> None:
        """At the end of ``on_train_begin``: everything is there and nothing is trained."""
        self._open(self._data.iterator)
        self._engine.report(determinism.of_process())
        epochs = self._arguments["epochs"]
        if self._engine.checkpoint is None:
            first = keras_compat.initial_epoch(self._model) or self._arguments["initial_epoch"]
            self._engine.begin(first, epochs=epochs)
        else:
            self._engine.resume(epochs=epochs, after_restore=self._resume_run)

    def _open(self, train: Any) -> None:
        """Make all variables exist, so that they can be restored, and check the script."""
        fit_build.build(self._model, train, self._models, self._engine.saved, self._session.warn)
        self._engine.check(
            self._models, self._data, [self._random, self._callbacks, self._run], "fit"
        )

    def _resume_run(self) -> None:
        """Let Keras' loop begin where the checkpoint was."""
        saved, epochs = self._engine.saved, self._arguments["epochs"]
        if epochs != (before := saved.get("epochs", epochs)):
            self._session.note_change(f"epochs was {before} and is {epochs}")
            self._session.warn(
                f"The script gave fit {before} epochs and gives it {epochs} now.",
                f"The training ends after {epochs} epochs in all: those that an "
                "earlier attempt trained count.",
            )
        at = self._engine.progress
        stopped = self._model.stop_training and not at.epoch_step
        keras_compat.set_initial_epoch(self._model, epochs if stopped else min(at.epoch, epochs))

    def epoch_begins(self, epoch: int) -> None:
        """At the end of ``on_epoch_begin``, after Keras has reset the metrics."""
        self._epoch_began = time.monotonic()
        engine, session = self._engine, self._session
        position = engine.saved.get("position")
        if position:
            if position["epoch"] == epoch and position["epoch_step"]:
                # callbacks have begun this epoch once more: what they changed is put back
                engine.restore()
                self._run.carry_logs()
            engine.drop_saved()
        engine.stand(self._at(epoch))
        session.advance(engine.progress, trained=False)
        session.beat("step" if session.trained else "compile")

    def batch_begins(self) -> None:
        """At the end of ``on_train_batch_begin``."""
        if not self._traced:
            self._engine.step_begins()

    def batch_ended(self, batch: int, logs: Json | None) -> None:
        """At the end of ``on_train_batch_end`` of the batch (0-based, the last of an execution)."""
        self._run.take_logs(logs)
        if not self._traced:
            shutdown.mark_clean(False)
            self._traced = True
            self._look_through_step()
        self._data.iterator.trained(batch + 1)

    def _boundary(self, epoch_step: int) -> None:
        """Between two batches, in the main thread, after the callbacks."""
        at = self._engine.progress
        base = at.step - at.epoch_step
        self._engine.step_done(
            Progress(at.stage, at.epoch, base + epoch_step, epoch_step), exact=self._data.exact
        )

    def epoch_ends(self, epoch: int, logs: Json | None) -> None:
        """At the end of ``on_epoch_end``."""
        train, at = self._data.iterator, self._engine.progress
        self._validation.over()
        shutdown.mark_clean(False)  # also where the data had no batch
        self._run.forget_carried_logs()
        # the last batch may have ended the epoch without a boundary after it
        step = at.step - at.epoch_step + train.epoch_step
        train.epoch_over()
        seconds = time.monotonic() - self._epoch_began
        self._engine.epoch_done(Progress(at.stage, epoch + 1, step), seconds, plain_logs(logs))

    def validation_begins(self) -> None:
        """Before Keras resets the metrics of the epoch."""
        if self._data.train is not None:
            self._validation.begins(self._at(self._engine.progress.epoch))

    def validation_continues(self) -> None:
        """Between two batches of the validation."""
        self._validation.continues(self._at(self._engine.progress.epoch))

    def _at(self, epoch: int) -> Progress:
        """Where the training is, also where the epoch has ended without a boundary."""
        at, epoch_step = self._engine.progress, self._data.iterator.epoch_step
        return Progress(at.stage, epoch, at.step - at.epoch_step + epoch_step, epoch_step)

    def _look_through_step(self) -> None:
        """Report what of the training step is not exact, once it was traced."""
        known = [
            *self._models.components(),
            *self._random.variables(),
            *self._callbacks.variables(),
        ]
        try:
            found = determinism.of_graphs(
                determinism.graphs_of(self._model.train_function),
                known,
                "make them attributes of the model",
            )
        except Exception as error:
            # looks at what TensorFlow keeps for itself: not worth a training
            tell(f"the training step could not be looked through: {error!r}.")
            return
        self._engine.report(found)


class _FitRun:
    """Capture and restore what ``fit`` itself keeps; a component."""

    def __init__(self, model: Any, arguments: dict[str, Any]) -> None:
        self._logs: Json = {}
        self._model = model
        self._epochs = arguments["epochs"]
        self._plan = {"validation_split": arguments["validation_split"]}

    def take_logs(self, logs: Json | None) -> None:
        """Take the logs of a batch."""
        self._logs = dict(logs or {})

    def capture(self, arrays: Tensors) -> Json:
        return {
            "stop_training": bool(self._model.stop_training),
            "logs": plain_logs(self._logs),
            "epochs": self._epochs,
        }

    def restore(self, saved: Json, arrays: Tensors, *, lenient: bool) -> None:
        self._model.stop_training = saved["stop_training"]
        self._logs = saved["logs"]

    def fingerprint(self) -> Json:
        return {"plan": {**self._plan, "jit_compile": str(self._model.jit_compile)}}

    def difference(self, saved: Json) -> str | None:
        before = saved.get("epochs", self._epochs)
        if saved["position"]["end"] and before != self._epochs:
            return f"epochs was {before} and is {self._epochs}"
        return None

    def caveats(self) -> list[Caveat]:
        return []

    def receipt(self, saved: Json) -> list[str]:
        return []

    def carry_logs(self) -> None:
        """Give an epoch that resumes with no batch left the logs of its last batch."""
        saved, model = self._logs, self._model
        plain = type(model)._get_metrics_result_or_logs

        def result(logs: Json) -> Any:
            return plain(model, logs or saved)

        # past Keras' tracking of attributes, which would take it for part of the model
        model.__dict__["_get_metrics_result_or_logs"] = result

    def forget_carried_logs(self) -> None:
        """Let the model give its own logs again."""
        self._model.__dict__.pop("_get_metrics_result_or_logs", None)


def plain_logs(logs: Json | None) -> Json:
    """Give logs as JSON: numbers as they are, everything else as text."""
    plain: Json = {}
    for key, value in (logs or {}).items():
        try:
            plain[key] = float(value)
        except (TypeError, ValueError):
            plain[key] = str(value)
    return plain
