"""One call of ``fit``: what is put back before it, watched within it, and saved on the way."""

import functools
import sys
import time
import types
from collections.abc import Callable
from typing import Any, Final

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.session import Departure, Session, Snapshot
from rekindle.jobs.capture import callbacks as callback_states
from rekindle.jobs.capture import large_arrays, rng, tensorboard_files, variables
from rekindle.jobs.capture.codec import Tensors, read_state
from rekindle.jobs.data import determinism, fit_iterator, pipeline, rng_tracker
from rekindle.jobs.data.epoch_iterator import EpochwiseIterator
from rekindle.jobs.journal_writer import tell
from rekindle.jobs.resume import keras_compat, model_config, warm_start
from rekindle.jobs.resume.hook import Hook
from rekindle.state.run.checkpoints import Position

PLAIN_FIT: Final[Callable[..., Any]] = keras_trainer.TensorFlowTrainer.fit
PLAIN_ITERATOR: Final[Callable[..., Any]] = keras_trainer.TFEpochIterator
"""Keras' own, as they were when this was imported."""


class Stage:
    """One call of ``fit``."""

    def __init__(
        self, session: Session, number: int, model: Any, arguments: dict[str, Any]
    ) -> None:
        self.session = session
        self.number = number
        self.model = model
        self.arguments = arguments
        self.departure = session.depart(number, read_state)
        self.callbacks = self._user_callbacks()
        self._classes = {
            type(callback).__name__: callback_states.class_attributes(callback)
            for callback in self.callbacks
        }
        self._generators = rng.made()
        self._renumbered = self._is_renumbered()
        self._constants = large_arrays.of(self.callbacks)
        # whose event files may be in a log folder that others share
        self._earlier = (
            tensorboard_files.before(session.run.journal, session.attempt)
            if any(isinstance(c, keras.callbacks.TensorBoard) for c in self.callbacks)
            else []
        )
        self.train: fit_iterator.TrainIterator | EpochwiseIterator | None = None
        self._exact = keras_compat.is_known()
        self._boundary_at = 0.0
        self.changed: str | None = None
        self.eval: fit_iterator.EvalIterator | None = None
        self.base = 0
        self.epoch = 0
        self.epoch_began = 0.0
        self.logs: dict[str, Any] = {}
        self.inexact: list[str] = []
        self.fingerprint: dict[str, Any] = {}
        self._evals_replayed = 0
        self._live: dict[str, Any] = {}
        self._live_tensors: Tensors = {}
        self._before_validation: tuple[Tensors, dict[str, Any]] | None = None
        self._piped: list[int] = []
        self._traced = False

    def run(self) -> Any:
        state = self.departure.state
        if self.departure.checkpoint is not None:
            if self.session.show is not None and self.session.show[0] == self.number:
                self._show(self.session.show[1])
            if not self.session.job.allow_change:
                callback_states.check(self.callbacks, state["callbacks"])
            if state["position"]["end"]:
                return self._put_back()
            if self._callbacks_fit():
                callback_states.prepare(self.callbacks, state["callbacks"], self._earlier)
            # also 0, which Keras would take for none: a script that goes on by itself says another
            self.arguments["initial_epoch"] = state["position"]["epoch"]
        hook = Hook(self)
        arguments = {**self.arguments, "callbacks": self._with(hook)}
        before = self.model._initial_epoch
        keras_trainer.TFEpochIterator = self._make_iterator
        try:
            history = PLAIN_FIT(self.model, **arguments)
        finally:
            keras_trainer.TFEpochIterator = PLAIN_ITERATOR
            if self.train is not None:
                self.train.close()
            self.model._initial_epoch = before
            self.model.__dict__.pop("_get_metrics_result_or_logs", None)
        if shutdown.answered() and (
            self.model.stop_training or self.epoch < self.arguments["epochs"]
        ):
            self.session.warn(
                "`fit` ended early after the script handled SIGTERM itself: this "
                "training is interrupted, not finished.",
                "The next attempt resumes it from its latest checkpoint.",
            )
            return history
        self.session.save(self.snapshot(end=True), "end")
        self.session.stage_ended(self.number, self.epoch)
        return history

    def _show(self, wanted: Callable[[dict[str, Any]], None]) -> None:
        """Fills the model from the checkpoint and gives it away; no callback hears of it."""
        self._build(self._make_train_iterator(self._iterator_arguments()))
        self._guard()
        variables.restore(
            variables.of_model(self.model),
            self.departure.state["variables"],
            self.departure.tensors,
            renumbered=self._renumbered,
        )
        wanted({"model": self.model})

    # a stage that had ended

    def _put_back(self) -> Any:
        """Restores what the stage left behind and returns its History, without training."""
        train = self._make_train_iterator(self._iterator_arguments())
        self._build(train)
        self._guard()
        # a later stage may go on drawing from the same shuffle
        state = self.departure.state
        train.put_back(state["iterator"], state.get("draws"), self.departure.tensors)
        self._replay_evals(state["evals"])
        history = next((c for c in self.callbacks if isinstance(c, keras.callbacks.History)), None)
        for callback in self.callbacks:
            callback.set_model(self.model)
            if not isinstance(self.arguments["callbacks"], keras.callbacks.CallbackList):
                # as fit does; a list made by the user has its own
                callback.set_params(
                    {
                        "verbose": self.arguments["verbose"],
                        "epochs": self.arguments["epochs"],
                        "steps": train.num_batches,
                    }
                )
        self.restore()
        self._tell_rates()
        self.session.stage_restored(self.number, self.departure)
        self.model.history = history
        return history

    def _iterator_arguments(self) -> dict[str, Any]:
        """What ``fit`` would give its iterator."""
        a = self.arguments
        x, y, weight = a["x"], a["y"], a["sample_weight"]
        if a["validation_split"] and a["validation_data"] is None:
            from keras.src.trainers.data_adapters import array_slicing

            (x, y, weight), _ = array_slicing.train_validation_split(
                (x, y, weight), validation_split=a["validation_split"]
            )
        return {
            "x": x,
            "y": y,
            "sample_weight": weight,
            "batch_size": a["batch_size"],
            "steps_per_epoch": a["steps_per_epoch"],
            "shuffle": a["shuffle"],
            "class_weight": a["class_weight"],
            "distribute_strategy": self.model.distribute_strategy,
            "steps_per_execution": self.model.steps_per_execution,
        }

    # callbacks

    def _user_callbacks(self) -> list[Any]:
        """The user's callbacks in a flat list, with a History, without what we replace."""
        given = self.arguments["callbacks"]
        if isinstance(given, keras.callbacks.CallbackList):
            given = given.callbacks
        found = []
        for callback in keras.tree.flatten(given) if given else []:
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                self.session.warn(
                    "The callback BackupAndRestore is left out: rekindle restores "
                    "more, and both would restore over each other.",
                    "Nothing is to be done.",
                )
            elif not isinstance(callback, keras.callbacks.ProgbarLogger):
                found.append(callback)
        if not any(isinstance(c, keras.callbacks.History) for c in found):
            found.append(keras.callbacks.History())
        return found

    def _with(self, hook: Hook) -> Any:
        given = self.arguments["callbacks"]
        if isinstance(given, keras.callbacks.CallbackList):
            # made by the user with their own parameters: the hook joins it at the end
            given.callbacks = [
                *self.callbacks,
                *[c for c in given.callbacks if isinstance(c, keras.callbacks.ProgbarLogger)],
                hook,
            ]
            hook.set_model(self.model)
            return given
        return [*self.callbacks, hook]

    def _callbacks_fit(self) -> bool:
        then = [name for name, _ in self.departure.state["callbacks"]]
        return then == [type(callback).__name__ for callback in self.callbacks]

    # iterators

    def _make_iterator(self, **arguments: Any) -> Any:
        """Stands in for ``TFEpochIterator`` while the stage runs."""
        if sys._getframe(1).f_code.co_name != "fit":
            return PLAIN_ITERATOR(**arguments)  # evaluate or predict of a callback
        if self.train is None:
            return self._make_train_iterator(arguments)
        self.eval = fit_iterator.EvalIterator(**arguments)
        self.eval.created = self._evals_replayed
        if self.eval.own_generators:
            self._tell(
                [
                    (
                        "The validation data draws from generators of its own, which are not put "
                        "back; "
                        "let it draw from one that is made from the index in __getitem__."
                    )
                ]
            )
        return self.eval

    def _make_train_iterator(
        self, arguments: dict[str, Any]
    ) -> fit_iterator.TrainIterator | EpochwiseIterator:
        kept = self.departure.state.get("draws")
        if kept is not None:
            # Keras takes the first batches right away: they are drawn as they were at first
            rng_tracker.begin_with(kept, self.departure.tensors)
        kind = fit_iterator.TrainIterator if self._exact else EpochwiseIterator
        self.train = kind(self.session.job.seed, self.number, **arguments)
        self.train.pass_begins = self._pass_begins
        self.train.beat = self._seeks
        if self.train.dataset is not None:
            self._piped = pipeline.seed_generators(self.train.dataset)
        return self.train

    def _pass_begins(self) -> None:
        """Notes what a pass over the data begins with, since it is replayed from its start."""
        self._live_tensors = {}
        self._live = {
            "evals": self._evals(),
            "seeds": rng.seed_states(self._live_tensors, "live", only=self._piped),
        }

    def _seeks(self) -> None:
        """Between two pieces of data that is read again: nothing is there yet to be saved."""
        self.session.beat("seek")
        if shutdown.requested():
            shutdown.leave()

    def _evals(self) -> int:
        return self.eval.created if self.eval is not None else self._evals_replayed

    def _replay_evals(self, count: int) -> None:
        """A validation set may share a shuffle with the training set: its draws come in order."""
        data = self.arguments["validation_data"]
        for _ in range(count - self._evals_replayed):
            if isinstance(data, tf.data.Dataset):
                iter(data)
        self._evals_replayed = max(count, self._evals_replayed)

    def _is_renumbered(self) -> bool:
        """Whether seed generators have other numbers now, and the model has all that count.

        A script that builds its model and then loads another in its place has made more of
        them on a relaunch. Any but those of the model are told apart by their number alone.
        """
        state = self.departure.state
        return state.get("generators", self._generators) != self._generators and len(
            state["random"]["seeds"]
        ) == variables.seeds_in(state["variables"])

    # building

    def _build(self, train: fit_iterator.TrainIterator | EpochwiseIterator) -> None:
        """Makes all variables exist before the first batch, so that they can be restored."""
        model = self.model
        with model.distribute_strategy.scope():
            try:
                model._symbolic_build(data_batch=_batch_of(train.element_spec))
            except Exception as error:
                # e.g. a custom train_step that builds what it needs by itself
                self._trace(train, error)
        saved = self.departure.state.get("variables")
        if (
            saved
            and variables.difference(variables.of_model(model), saved, renumbered=self._renumbered)
            is not None
        ):
            self._trace(train, None)

    def _trace(
        self, train: fit_iterator.TrainIterator | EpochwiseIterator, error: Exception | None
    ) -> None:
        """Traces a training step without running it, which makes the rest of the variables."""
        if self.departure.checkpoint is None:
            return
        try:
            tf.function(self.model.train_step).get_concrete_function(train.element_spec)
        except Exception as second:
            self.session.warn(
                f"The model could not be built before training: {second}.",
                "Build it in the script, e.g. with model.build().",
            )

    def _guard(self) -> None:
        """Refuses a script that is another than the one of the checkpoint."""
        assert self.train is not None
        plan = {
            **self.train.plan,
            "validation_split": self.arguments["validation_split"],
            "jit_compile": str(self.model.jit_compile),
        }
        self.fingerprint = variables.fingerprint(self.model, plan)
        if self.departure.checkpoint is None:
            return
        state = self.departure.state
        found = variables.compare(self.fingerprint, state["fingerprint"])
        if found is None and state["position"]["end"]:
            epochs = self.arguments["epochs"]
            if state.get("epochs", epochs) != epochs:
                found = f"epochs was {state['epochs']} and is {epochs}"
        if found is None:
            found = variables.difference(
                variables.of_model(self.model), state["variables"], renumbered=self._renumbered
            )
        if found is None:
            found = callback_states.difference(self.callbacks, state["callbacks"])
        if found is not None and not self.session.job.allow_change:
            raise variables.refuse(found)
        self.changed = found

    # from outside in

    def begin(self) -> None:
        """At the end of ``on_train_begin``: everything is there and nothing is trained."""
        train = self.train
        assert train is not None
        self._build(train)
        self._guard()
        model_config.store(self.session.run, self.number, {"model": self.model})
        self._audit_data(train)
        if self.departure.checkpoint is None:
            begun = warm_start.apply(self.session, self.number, {"model": self.model})
            self.base = self.session.step
            self.epoch = self.model._initial_epoch or self.arguments["initial_epoch"]
            train.boundary = self._boundary
            snapshot = self.snapshot()
            self.session.resumed(
                self.number,
                self.departure,
                epoch=self.epoch,
                step=self.base,
                restored=begun,
                inexact=self.inexact,
                epochs=self.arguments["epochs"],
            )
            if variables.are_all_there(self.model):
                self.session.save(snapshot, "start")
        else:
            self._go_on(train)
        self.session.deadline.watch()
        if shutdown.requested():
            shutdown.leave()

    def _audit_data(self, train: fit_iterator.TrainIterator | EpochwiseIterator) -> None:
        """Says what cannot be put back exactly, as far as it can be known before a step."""
        self.inexact += train.inexact()
        if not self._exact:
            self.inexact.append(
                "Only whole epochs can be put back with this version of Keras; "
                f"install a tested one ({', '.join(keras_compat.TESTED)})."
            )
        if isinstance(train.data_adapter, TFDatasetAdapter) and train.dataset is not None:
            self.inexact += determinism.of_data(train.dataset, bool(self._piped))
        if isinstance(self.arguments["validation_data"], types.GeneratorType):
            self.inexact.append(
                "A generator as validation data is read ahead to an unknown "
                "place; use arrays, a tf.data.Dataset or a PyDataset."
            )
        self.inexact += determinism.of_process()

    def audit_step(self) -> None:
        """Says the same of the training step, once it has been traced."""
        groups = variables.of_model(self.model)
        known = [
            component
            for group in groups.values()
            for variable in group
            for component in variables.components(variable)
        ]
        known += [rng.variable_of(generator) for _, generator in rng.generators()]
        known += callback_states.variables_of(self.callbacks)
        try:
            found = determinism.of_step(self.model.train_function, known)
        except Exception as error:
            # looks at what TensorFlow keeps for itself: not worth a training
            tell(f"the training step could not be looked through: {error!r}.")
            return
        self._tell(found)

    def _tell(self, found: list[str]) -> None:
        """What was found out after the receipt was written, once."""
        for sentence in found:
            if sentence not in self.inexact:
                self.inexact.append(sentence)
                what, _, way = sentence.rpartition("; ")
                self.session.warn(f"Not exact after a relaunch: {what}.", way[:1].upper() + way[1:])

    def _go_on(self, train: fit_iterator.TrainIterator | EpochwiseIterator) -> None:
        state = self.departure.state
        position = state["position"]
        self.epoch, self.base = position["epoch"], position["base"]
        live = state["live"]

        def before_live() -> None:
            self._replay_evals(live.get("evals", 0))
            rng.restore_seed_states(live.get("seeds", []), self.departure.tensors)

        # the state is the one on disk until a batch is trained, and reading may take hours
        shutdown.unchanged(True)
        self.session.deadline.watch()
        train.seek(state["iterator"], before_live, state.get("draws"), self.departure.tensors)
        shutdown.unchanged(False)
        self._live, self._live_tensors = (
            live,
            {
                key: value
                for key, value in self.departure.tensors.items()
                if key.startswith("live/")
            },
        )
        self._replay_evals(state["evals"])
        train.boundary = self._boundary
        self.restore()
        self._tell_rates()
        train.check_again()
        self._tell(train.inexact())
        epochs = self.arguments["epochs"]
        if epochs != (before := state.get("epochs", epochs)):
            self.session.changed.append(f"epochs was {before} and is {epochs}")
            self.session.warn(
                f"The script gave fit {before} epochs and gives it {epochs} now.",
                f"The training ends after {epochs} epochs in all: those that an "
                "earlier attempt trained count.",
            )
        stopped = self.model.stop_training and not position["epoch_step"]
        self.model._initial_epoch = epochs if stopped else min(self.epoch, epochs)
        self.session.resumed(
            self.number,
            self.departure,
            epoch=self.epoch,
            step=position["step"],
            restored=_restored(state),
            allowed=self.changed,
            epochs=epochs,
            inexact=list(dict.fromkeys([*state["inexact"], *self.inexact])),
        )

    def restore(self) -> None:
        """Puts variables, random state and callbacks back to the checkpoint."""
        state, arrays = self.departure.state, self.departure.tensors
        lenient = self.changed is not None
        variables.restore(
            variables.of_model(self.model),
            state["variables"],
            arrays,
            lenient=lenient,
            renumbered=self._renumbered,
        )
        kept = [
            entry
            for entry in state["random"]["seeds"]
            if entry[0] not in self._piped and not self._renumbered
        ]
        rng.restore({**state["random"], "seeds": kept}, arrays)
        if self._callbacks_fit():
            for text in callback_states.restore(
                self.callbacks, state["callbacks"], arrays, self._constants
            ):
                what, _, way = text.partition("; ")
                self.session.warn(
                    f"Not exact after a relaunch: {what}.", way[:1].upper() + way[1:] + "."
                )
                if text not in self.inexact:
                    self.inexact.append(text)
        self.model.stop_training = state["stop_training"]
        self.logs = state["logs"]
        if self.train is not None:
            self.inexact = list(dict.fromkeys([*state["inexact"], *self.inexact]))

    def _tell_rates(self) -> None:
        """Says which learning rate of the script is not used, since the restored one goes on."""
        if self.changed is not None:
            return  # a person has been told, and has allowed it
        saved = self.departure.state["fingerprint"].get("rates", {})  # older ones have none
        for text in variables.unused_rates(
            self.fingerprint["rates"], saved, variables.rates(self.model)
        ):
            self.session.changed.append(text)
            self.session.warn(
                f"{text[:1].upper()}{text[1:]}.",
                "If you have changed it: set it in a callback, or begin anew with "
                "`rekindle retry JOB --from-scratch`.",
            )
        # later attempts are told of the same change, too
        self.fingerprint["rates"] = {**self.fingerprint["rates"], **saved}

    def epoch_begins(self, epoch: int) -> None:
        """At the end of ``on_epoch_begin``, after Keras has reset the metrics."""
        self.epoch_began = time.monotonic()
        self.session.epoch = epoch
        position = self.departure.state.get("position")
        if position:
            if position["epoch"] == epoch and position["epoch_step"]:
                # callbacks have begun this epoch once more: what they changed is put back
                self.restore()
                self._carry_logs()
            # a second copy of model and optimizer
            self.departure = Departure(self.departure.checkpoint, self.departure.refused)
        self.epoch = epoch
        self.session.beat("step" if self.session.trained else "compile")

    def _carry_logs(self) -> None:
        """An epoch that goes on with no batch left has the logs of its last batch."""
        saved, model = self.logs, self.model
        plain = type(model)._get_metrics_result_or_logs

        def result(logs: dict[str, Any]) -> Any:
            return plain(model, logs or saved)

        # past Keras' tracking of attributes, which would take it for part of the model
        model.__dict__["_get_metrics_result_or_logs"] = result

    # from inside out

    def batch_begins(self) -> None:
        """At the end of ``on_train_batch_begin``."""
        if not self._traced:
            self._boundary_at = time.monotonic()
            shutdown.unchanged(True)

    def batch_ended(self, batch: int, logs: dict[str, Any] | None) -> None:
        """At the end of ``on_train_batch_end`` of the batch (0-based, the last of an execution)."""
        assert self.train is not None
        self.logs = dict(logs or {})
        if not self._traced:
            shutdown.unchanged(False)
            self._traced = True
            self.audit_step()
        self.train.trained(batch + 1)

    def _boundary(self, epoch_step: int) -> None:
        """Between two batches, in the main thread, after the callbacks."""
        session = self.session
        session.step = self.base + epoch_step
        session.trained = True
        session.heartbeat.beat("step", self.epoch, session.step)
        if session.must_stop():
            if self._exact:
                self.leave(self.snapshot())
            else:
                shutdown.leave()  # this epoch is trained again
        now = time.monotonic()
        if self._exact and session.cadence.due_in_epoch(session.step, now):
            session.save(self.snapshot(), "steps" if session.job.checkpoint.every_steps else "time")
            if shutdown.requested():
                shutdown.leave()  # it came while that was written
            now = time.monotonic()
        elif (
            self._exact and self._boundary_at and session.deadline.is_long(now - self._boundary_at)
        ):
            session.deadline.spare = functools.partial(session.save, self.snapshot(), "signal")
            now = time.monotonic()
        self._boundary_at = now

    def epoch_ends(self, epoch: int, logs: dict[str, Any] | None) -> None:
        """At the end of ``on_epoch_end``."""
        assert self.train is not None
        session = self.session
        self._before_validation = None
        shutdown.unchanged(False)  # also where the data had no batch
        self.model.__dict__.pop("_get_metrics_result_or_logs", None)
        # the last batch may have ended the epoch without a boundary after it
        session.step = self.base = self.base + self.train.epoch_step
        session.trained = True
        self.train.epoch_over()
        self.epoch = session.epoch = epoch + 1
        values = _plain_logs(logs)
        best = session.epoch_ended(self.number, epoch, time.monotonic() - self.epoch_began, values)
        asked = session.must_stop()
        if (
            best
            or asked
            or session.cadence.due_after_epoch(self.epoch, session.step, time.monotonic())
        ):
            snapshot = self.snapshot(logs=values)
            session.save(snapshot, "signal" if asked else "best" if best else "epoch", best=best)
        if asked or shutdown.requested():
            # where it came while that was written there is the less to be written
            if not asked:
                session.save(self.snapshot(logs=values), "signal")
            shutdown.leave()
        self._boundary_at = 0.0
        session.beat("step")

    def validation_begins(self) -> None:
        """Before Keras resets the metrics of the epoch; kept in case it has to end in between."""
        if self.train is None or self._before_validation is not None:
            return
        arrays: Tensors = {}
        state = {
            "metrics": variables.capture({"metrics": list(self.model.metrics_variables)}, arrays),
            "random": self._random(arrays),
            "evals": self._evals(),
        }
        self._before_validation = (arrays, state)
        self.session.beat("validation")

    def validation_goes_on(self) -> None:
        self.session.beat("validation")
        if shutdown.requested() and self._before_validation is not None:
            if not self._exact:
                shutdown.leave()
                return
            # the weights are those of before: only what validation changes is put back
            snapshot = self.snapshot()
            arrays, state = self._before_validation
            snapshot.tensors.update(arrays)
            snapshot.state["variables"].update(state["metrics"])
            snapshot.state["random"] = state["random"]
            snapshot.state["evals"] = state["evals"]
            self.leave(snapshot)

    def leave(self, snapshot: Snapshot) -> None:
        """Saves and ends the process, to be started again, unless the script does so itself."""
        self.session.save(snapshot, "signal")
        shutdown.leave()

    def _random(self, arrays: Tensors) -> dict[str, Any]:
        """The random state as of the last trained batch, however far the data is read ahead."""
        assert self.train is not None
        drawn = self.train.drawn()
        return rng.capture(
            arrays, python=drawn.get(rng_tracker.PYTHON), numpy=drawn.get(rng_tracker.NUMPY)
        )

    def snapshot(self, *, end: bool = False, logs: dict[str, Any] | None = None) -> Snapshot:
        """Everything, as of now; arrays are copies."""
        assert self.train is not None
        self._tell(self.train.inexact())
        arrays: Tensors = {}
        groups = variables.of_model(self.model)
        described = variables.capture(groups, arrays)
        states, left_out = callback_states.capture(
            self.callbacks,
            arrays,
            self._classes,
            [*self._earlier, tensorboard_files.this_process()],
            self._constants,
        )
        if left_out:
            for text in left_out:
                self.session.warn(f"Not restored on a relaunch: {text}.", "Everything else is.")
        arrays.update(self._live_tensors)
        step = self.base + self.train.epoch_step
        state = {
            "position": {
                "stage": self.number,
                "epoch": self.epoch,
                "step": step,
                "epoch_step": self.train.epoch_step,
                "base": self.base,
                "end": end,
            },
            "iterator": self.train.position(),
            "live": self._live,
            "evals": self._evals(),
            "variables": described,
            "generators": self._generators,
            "random": self._random(arrays),
            "draws": self.train.draws(arrays),
            "callbacks": states,
            "stop_training": bool(self.model.stop_training),
            "logs": _plain_logs(self.logs),
            "inexact": [*self.inexact, *[text for text in left_out if text not in self.inexact]],
            "epochs": self.arguments["epochs"],
            "fingerprint": self.fingerprint,
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        }
        return Snapshot(
            Position(self.number, self.epoch, step, end),
            arrays,
            state,
            _plain_logs(self.logs) if logs is None else logs,
            finite=variables.non_finite(groups, arrays) is None,
        )


def _batch_of(spec: Any) -> Any:
    """A batch's shapes for Keras' symbolic build; any size of batch that is not fixed."""
    return tf.nest.map_structure(
        lambda s: (
            keras.KerasTensor(tuple(s.shape), s.dtype.name)
            if isinstance(s, tf.TensorSpec)
            else None
        ),
        spec,
    )


def _plain_logs(logs: dict[str, Any] | None) -> dict[str, Any]:
    """Logs as JSON: numbers as they are, everything else as text."""
    plain: dict[str, Any] = {}
    for key, value in (logs or {}).items():
        try:
            plain[key] = float(value)
        except (TypeError, ValueError):
            plain[key] = str(value)
    return plain


def _restored(state: dict[str, Any]) -> list[str]:
    """For the receipt: what was put back, in words."""
    counts = {group: len(entries) for group, entries in state["variables"].items()}
    parts = [f"{count} {group} variables" for group, count in counts.items() if count]
    parts += ["position in the data", "random state"]
    names = [name for name, kept in state["callbacks"] if kept]
    return [*parts, f"callbacks: {', '.join(names)}"]
