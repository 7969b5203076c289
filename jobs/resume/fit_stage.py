"""Stage of one call of ``fit``: its arguments, its callbacks, and Keras' events."""

import dataclasses
import sys
import time
from typing import Any

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import tensorboard_files, variables
from rekindle.jobs.capture.callbacks import CallbackStates
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import ComponentBase, Json
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.data import determinism
from rekindle.jobs.data.fit_data import FitData
from rekindle.jobs.data.iterators import CallbackIterator
from rekindle.jobs.ends import extension
from rekindle.jobs.files import targets
from rekindle.jobs.files.moved import OutputPaths
from rekindle.jobs.files.stage_files import StageFiles
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.python_state.component import PythonState
from rekindle.jobs.resume import fit_build
from rekindle.jobs.resume.hook import Hook, LogReader
from rekindle.jobs.resume.stage import StageEngine
from rekindle.jobs.resume.validation import Validation
from rekindle.state.counted import counted
from rekindle.state.errors import StateMismatch
from rekindle.state.run.training_state import Fingerprint, TrainingState


class FitStage:
    """Run one call of ``fit``: Keras' own loop, begun at the position of the checkpoint.

    Args:
        number: 0-based number of the stage in the script.
        arguments: all arguments of ``fit``, by name.
    """

    def __init__(
        self, session: Session, number: int, model: Any, arguments: dict[str, Any]
    ) -> None:
        self._session = session
        self._model = model
        self._arguments = arguments
        if (epochs := extension.epochs(session.job.extension, number)) is not None:
            arguments["epochs"] = epochs
        callbacks = fit_build.user_callbacks(arguments["callbacks"], session.warn)
        paths = OutputPaths(callbacks)
        written = targets.of(callbacks, begun_at=time.time())
        files = StageFiles(session, number, written, paths)
        self._callbacks = CallbackStates(
            callbacks, lambda: tensorboard_files.before(session.run, session.attempt)
        )
        self._engine = StageEngine(session, number, session.save_policy(number), files)
        self._data = FitData(
            (session.job.seed, number),
            arguments["validation_data"],
            session.seeking,
            self._boundary,
            self._engine.end_last_steps,
        )
        self._random = RandomState(self._data.seed_generators, self._data.drawn)
        self._models = fit_build.model_state(model, self._random)
        if self._engine.has_ended:
            self._models.fix()
        self._python = PythonState(
            fit_build.python_roots(model, arguments, callbacks),
            lambda: [*self._models.components(), *self._random.variables()],
            beat=session.seeking,
        )
        self._run = _FitRun(model, arguments)
        self._validation = Validation(self._engine, model, self._random, self._data)
        self._traced = False

    @property
    def dropped(self) -> Any:
        """The entry of that name in the state of a finished stage; None if it has its weights."""
        return self._engine.saved.get("dropped")

    def run(self) -> Any:
        """Run Keras' loop, or restore its result; return the History."""
        engine, number = self._engine, self._engine.progress.stage
        if engine.checkpoint is not None:
            if self._session.wanted(number) is not None:
                self._open(self._make_training())
                engine.show()
            self._check_callbacks()
            if engine.has_ended:
                return self._restore_ended()
            engine.files.put_back(engine.saved, ended=False)
            self._callbacks.prepare(engine.saved, engine.files.paths)
            # set even for epoch 0: a script that resumes by itself passes another initial_epoch
            self._arguments["initial_epoch"] = engine.saved["position"]["epoch"]
        arguments = {
            **self._arguments,
            "callbacks": fit_build.with_hooks(
                self._arguments["callbacks"],
                LogReader(lambda: engine.proof),
                self._callbacks.callbacks,
                Hook(self),
                self._model,
            ),
        }
        before = internals.initial_epoch(self._model)
        try:
            with internals.epoch_iterator(self._make_iterator):
                history = internals.PLAIN_FIT(self._model, **arguments)
        finally:
            self._data.close()
            internals.set_initial_epoch(self._model, before)
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
        """Check the callbacks before one of them opens, and so may truncate, a file.

        Raises:
            StateMismatch: they differ from those in the checkpoint.
        """
        saved = self._engine.saved
        found = self._callbacks.difference(saved) if "callbacks" in saved else None
        if (
            found is not None
            and not self._session.job.allow_change
            and not self._engine.is_inherited
        ):
            raise StateMismatch(
                f"The script has changed since the checkpoint was made: {found}.",
                hint="Use the same callbacks in the same order in every attempt, or accept the "
                "change with `rekindle retry JOB --allow-change`: their state then starts over.",
            )

    def _restore_ended(self) -> Any:
        """Restore the result of a finished stage and return its History, without training."""
        engine, data = self._engine, self._data
        train = self._make_training()
        self._open(train)

        def seek() -> None:
            data.restore_ended(engine.saved, engine.saved_arrays)
            fit_build.introduce(
                self._callbacks.callbacks, self._model, self._arguments, train.num_batches
            )

        engine.restore_ended(seek)
        self._model.history = history = fit_build.history_of(self._callbacks.callbacks)
        return history

    # iterators

    def _make_iterator(self, **arguments: Any) -> Any:
        """Create an iterator in place of ``TFEpochIterator`` while the stage runs."""
        if sys._getframe(1).f_code.co_name != "fit":
            return CallbackIterator(**arguments)  # evaluate or predict of a callback
        if self._data.train is None:
            return self._make_training(arguments)
        return self._data.make_validation(arguments)

    def _make_training(self, arguments: Json | None = None) -> Any:
        arguments = arguments or internals.iterator_arguments(self._model, self._arguments)
        return self._data.make_training(arguments, self._engine.saved, self._engine.saved_arrays)

    # called by Keras through the hook and the iterator

    def begin(self) -> None:
        """Begin or resume at the end of ``on_train_begin``, before anything is trained."""
        self._callbacks.begin()
        self._open(self._data.iterator)
        self._engine.report(determinism.of_process())
        plan = fit_build.plan(self._arguments, self._data.iterator)
        if self._engine.checkpoint is None:
            first = internals.initial_epoch(self._model) or self._arguments["initial_epoch"]
            self._engine.begin(first, plan=plan)
        else:
            self._engine.resume(plan=plan, after_restore=self._resume_run)

    def _open(self, train: Any) -> None:
        """Create all variables, so that they can be restored, and compare the script."""
        fit_build.build(self._model, train, self._models, self._engine.saved, self._session.warn)
        others = [self._random, self._callbacks, self._python, self._run]
        self._engine.check(self._models, self._data, others, "fit")

    def _resume_run(self) -> None:
        """Let Keras' loop begin at the epoch of the checkpoint."""
        epochs = self._arguments["epochs"]
        known = self._callbacks.callbacks
        _report_epochs(self._session, self._engine, self._arguments, self._model, known)
        self._run.carry_logs()
        at = self._engine.progress
        stopped = self._model.stop_training and not at.epoch_step
        internals.set_initial_epoch(self._model, epochs if stopped else min(at.epoch, epochs))

    def epoch_begins(self, epoch: int) -> None:
        """Begin an epoch at the end of ``on_epoch_begin``, after Keras has reset the metrics."""
        self._run.epoch_begins()
        engine, session = self._engine, self._session
        position = engine.saved.get("position")
        if position:
            if position["epoch"] == epoch and position["epoch_step"]:
                # callbacks saw on_epoch_begin of this epoch once more: undo what they changed
                engine.restore_again()
                if self._model.stop_training:
                    # Keras asks only after a batch: it would train one that was not to be
                    self._data.iterator.stop_here()
            engine.drop_saved()
        engine.stand(self._at(epoch))
        session.advance(engine.progress, trained=False)
        session.beat("step" if session.trained else "compile")

    def batch_begins(self) -> None:
        """Begin an execution at the end of ``on_train_batch_begin``."""
        if not self._traced:
            self._engine.step_begins()

    def batch_ended(self, batch: int, logs: Json | None) -> None:
        """Count the 0-based batch, the last of its execution, after ``on_train_batch_end``."""
        self._run.take_logs(logs)
        if not self._traced:
            shutdown.mark_clean(False)
            self._traced = True
            self._look_through_step()
        self._data.iterator.trained(batch)
        at = self._engine.progress
        step = at.step - at.epoch_step + self._data.iterator.epoch_step
        self._engine.proof.step(step, at.epoch)

    def _boundary(self) -> None:
        """Save or stop between two batches, in the main thread, after the callbacks."""
        self._engine.step_done(self._at(self._engine.progress.epoch), exact=self._data.exact)

    def epoch_ends(self, epoch: int, logs: Json | None) -> None:
        """End an epoch at the end of ``on_epoch_end``."""
        self._validation.over()
        shutdown.mark_clean(False)  # batch_ended has not, if the data had no batch
        # there may be no boundary after the last batch of an epoch
        done = dataclasses.replace(self._at(epoch + 1), epoch_step=0)
        self._data.iterator.epoch_over()
        self._engine.epoch_done(done, self._run.epoch_seconds(), plain_logs(logs))

    def validation_begins(self) -> None:
        """Begin the validation before Keras resets the metrics of the epoch."""
        if self._data.train is not None:
            self._validation.begins()

    def validation_continues(self) -> None:
        """Stop on SIGTERM between two batches of the validation."""
        self._validation.continues(self._at(self._engine.progress.epoch))

    def _at(self, epoch: int) -> Progress:
        """Return the position, correct also after an epoch that ended without a boundary."""
        at, epoch_step = self._engine.progress, self._data.iterator.epoch_step
        return Progress(at.stage, epoch, at.step - at.epoch_step + epoch_step, epoch_step)

    def _look_through_step(self) -> None:
        """Report caveats of the training step, once it is traced."""
        known = [
            *self._models.components(),
            *self._random.variables(),
            *self._callbacks.variables(),
            *internals.settings(self._model),
        ]
        self._engine.report(
            determinism.checked(
                lambda: determinism.of_graphs(
                    determinism.graphs_of(self._model.train_function),
                    known,
                    "make them attributes of the model",
                )
            )
        )


def _report_epochs(
    session: Session, engine: StageEngine, arguments: Json, model: Any, callbacks: list[Any]
) -> None:
    """Report that a `fit` has another number of epochs than at the checkpoint."""
    epochs: int = arguments["epochs"]
    if engine.is_reopened:
        engine.report(extension.data_caveats(arguments["x"]))
    before = engine.saved.get("epochs", epochs)
    asked = session.job.extension
    if extension.epochs(asked, engine.progress.stage) is not None:
        if asked is not None and (engine.is_reopened or epochs != before):
            session.note_change(f"epochs was {before} and is {epochs}, on request")
            optimizers = variables.optimizers(model).values()
            engine.report(extension.caveats(asked, before, optimizers, callbacks))
    elif engine.is_inherited:
        if epochs != before:
            session.note_change(f"epochs was {before} and is {epochs}")
        if engine.progress.epoch >= epochs:
            session.warn(
                f"The script asks for {counted(epochs, 'epoch')}, and the fork begins after "
                f"{engine.progress.epoch}: nothing is trained.",
                "Fork after an earlier epoch, or with an argument for more epochs.",
            )
    elif epochs != before:
        session.note_change(f"epochs was {before} and is {epochs}")
        session.warn(
            f"The script calls fit with {counted(epochs, 'epoch')}; earlier attempts had {before}.",
            f"The training ends after {counted(epochs, 'epoch')} in all, including those of "
            "earlier attempts.",
        )


class _FitRun(ComponentBase):
    """Capture and restore state of ``fit`` itself; a component."""

    def __init__(self, model: Any, arguments: dict[str, Any]) -> None:
        self._logs: Json = {}
        self._model = model
        self._epochs = arguments["epochs"]
        self._epoch_began = time.monotonic()
        self._plan = {"validation_split": arguments["validation_split"]}

    def epoch_begins(self) -> None:
        """Start the clock of an epoch."""
        self._epoch_began = time.monotonic()

    def epoch_seconds(self) -> float:
        """Return the seconds since the epoch began."""
        return time.monotonic() - self._epoch_began

    def take_logs(self, logs: Json | None) -> None:
        """Store the logs of a batch."""
        self.forget_carried_logs()
        self._logs = dict(logs or {})

    def capture(self, arrays: Tensors) -> TrainingState:
        return {
            "stop_training": bool(self._model.stop_training),
            "logs": plain_logs(self._logs),
            "epochs": self._epochs,
        }

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        self._model.stop_training = saved["stop_training"]
        self._logs = saved["logs"]

    def fingerprint(self) -> Fingerprint:
        return {"plan": {**self._plan, "jit_compile": str(self._model.jit_compile)}}

    def difference(self, saved: TrainingState) -> str | None:
        before = saved.get("epochs", self._epochs)
        if saved["position"]["end"] and before != self._epochs:
            return f"epochs was {before} and is {self._epochs}"
        return None

    def carry_logs(self) -> None:
        """Use the saved logs of the last batch for epochs that have no batch of their own."""
        internals.carry_logs(self._model, self._logs)

    def forget_carried_logs(self) -> None:
        """Remove what :meth:`carry_logs` set."""
        internals.forget_carried_logs(self._model)


def plain_logs(logs: Json | None) -> Json:
    """Convert logs to JSON: numbers stay, everything else becomes text."""
    plain: Json = {}
    for key, value in (logs or {}).items():
        try:
            plain[key] = float(value)
        except (TypeError, ValueError):
            plain[key] = str(value)
    return plain
