"""Stage of a loop: generator protocol, ``break``, and streams."""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import trace_order
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Component, ComponentBase
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.capture.tracked_objects import TrackedModels, TrackedState
from rekindle.jobs.capture.variables import Listing
from rekindle.jobs.data import determinism
from rekindle.jobs.data.loop_batches import Batches
from rekindle.jobs.data.loop_data import LoopData
from rekindle.jobs.files.stage_files import StageFiles
from rekindle.jobs.heartbeat import Plan
from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.python_state.component import PythonState
from rekindle.jobs.python_state.stack import Stack
from rekindle.jobs.resume.stage import StageEngine
from rekindle.jobs.saving.checkpoint_store import Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.jobs.stages import describe
from rekindle.state.errors import RekindleError, StateMismatch, UsageError
from rekindle.state.run.training_state import TrainingState


class LoopStage:
    """Run one loop as a stage.

    Args:
        policy: when to save, unless the spec sets that.
        tracked: models, optimizers and metrics.
        state: other state by name.

    Attributes:
        resumed: name of the checkpoint that the loop was resumed from.
        flags: what the script tells the loop: metrics, and to stop.
    """

    def __init__(
        self, policy: CheckpointPolicy, tracked: TrackedModels, state: dict[str, Any]
    ) -> None:
        self.resumed: str | None = None
        self._policy = policy
        self._tracked = tracked
        self._state = TrackedState(state)
        self._data = LoopData(self._seed, self._seeking)
        self.flags = LoopFlags()
        self._engine: StageEngine | None = None
        self._begun_at = 0
        self._progress = Progress()
        self._ended = False
        self._undo_signals: Callable[[], None] = _nothing

    # public to the script

    @property
    def step(self) -> int:
        """Finished steps of this loop."""
        return self._progress.step - self._begun_at

    @property
    def epoch(self) -> int:
        """Finished epochs of this loop."""
        return self._progress.epoch

    @property
    def over(self) -> bool:
        """True once the loop has ended or was stopped."""
        return self.flags.stopped or self._ended

    # beginning

    def begin(self, opened: Callable[[], Session], plan: Plan, *, flat: bool) -> None:
        """Enter the stage: restore its checkpoint, or take the first one.

        Args:
            plan: how long the loop will be.
            flat: the loop has steps and no epochs.
        """
        if self._engine is not None:
            raise UsageError(
                "The loop is already running.", hint="Create one resumable() for each loop."
            )
        daemon_or_with = Session.current is not None
        session = opened()
        _check_place(session)
        if not daemon_or_with and threading.current_thread() is threading.main_thread():
            self._undo_signals = shutdown.install_alone()
        number = session.stages.enter(lambda: describe.loop(self._tracked, self._state.names()))
        shutdown.in_training(True)
        try:
            policy = _save_policy(session, number, self._policy, flat=flat)
            self._engine = StageEngine(session, number, policy, StageFiles(session, number))
            self._open(self._engine, plan)
        except RekindleError as error:
            session.fail_permanently(error)
            self._leave(session)
            raise
        except BaseException:
            self._leave(session)
            raise

    def _open(self, engine: StageEngine, plan: Plan) -> None:
        session = engine.session
        if not trace_order.watch(self._tracked.models.values()):
            session.warn(
                "If batches differ in size, a relaunch may differ in the last bits: "
                "this version of TensorFlow stores its traces in an unknown way.",
                "Use batches of one size.",
            )
        self._tracked.build()
        random = RandomState(lambda: self._data.seed_generators)
        models, others = _components(self._tracked, self._state, random)
        engine.check(models, self._data, [self.flags, *others], "loop")
        engine.show()
        engine.report(determinism.of_process())
        self.resumed, self._ended = engine.checkpoint, engine.has_ended
        if self.resumed is None:
            self._state.check()
            engine.begin(0, plan=plan)
        elif self._ended:
            engine.restore_ended()
        else:
            engine.files.put_back(engine.saved, ended=False)
            engine.resume(plan=plan)
        self._progress, self._begun_at = engine.progress, engine.begun_at
        if not self._ended:
            if self.resumed is not None and not self._data.is_within:
                self._forget()
            session.beat("compile")
        engine.step_begins()

    # data

    def add_stream(self, data: Any, batch_size: int | None, *, shuffle: bool) -> Batches:
        """Add data; call before the loop begins."""
        if self._engine is not None:
            raise UsageError(
                "Data was added within the loop.",
                hint="Call data() before the loop begins, and use its result.",
            )
        return self._data.add(data, batch_size, shuffle=shuffle)

    def next_call(
        self, data: Any, batch_size: int | None, *, shuffle: bool
    ) -> tuple[Batches, bool]:
        """Return the stream for the next `batches` of this epoch, and whether it has any left."""
        engine = self._running()
        try:
            stream = self._data.stream_of_call(data, batch_size, shuffle=shuffle)
        except StateMismatch as error:
            engine.session.fail_permanently(error)
            raise
        has_batches, arrived = self._data.arrive()
        if arrived:
            # the script ran the code before this call once more: undo what that changed
            engine.restore_again()
            self._forget()
        return stream, has_batches

    def _forget(self) -> None:
        self._running().drop_saved()
        self._data.forget()

    def _seed(self) -> tuple[int, int]:
        engine = self._running()
        return engine.session.job.seed, engine.progress.stage

    def _seeking(self) -> None:
        self._running().session.seeking()

    # between steps

    def step_ended(self) -> None:
        """Count a finished step, also when the script leaves the loop in it."""
        at = self._progress
        self._progress = replace(at, step=at.step + 1, epoch_step=at.epoch_step + 1)

    def batches_left(self) -> None:
        """Record that the script left the batches of a call; more code of the epoch may follow."""
        self._running().end_last_steps()

    def boundary(self) -> None:
        """Save or stop between two steps."""
        shutdown.mark_clean(False)
        engine, at = self._running(), self._progress
        engine.proof.step(at.step, at.epoch, self.flags.compared())
        engine.step_done(at)

    def batches_over(self) -> None:
        """Record that all batches of a call are trained; more code of the epoch may follow."""
        self._data.exhaust()
        engine = self._running()
        engine.end_last_steps()
        engine.session.beat("validation")
        if shutdown.requested():
            engine.exit_saved()

    def epoch_begins(self) -> None:
        """Begin an epoch, or resume the one of the checkpoint."""
        again = self._data.begin_epoch()
        if not again:
            self._progress = replace(self._progress, epoch_step=0)
            self.flags.clear_logs()
        self._running().epoch_begins(again=again)
        self._running().session.advance(self._progress, trained=False)

    def epoch_ended(self, seconds: float) -> None:
        """End an epoch."""
        shutdown.mark_clean(False)
        self._data.end_epoch()
        at = self._progress
        self._progress = replace(at, epoch=at.epoch + 1, epoch_step=0)
        engine = self._running()
        engine.proof.note_logs(self.flags.compared())
        engine.epoch_done(self._progress, seconds, dict(self.flags.logs))

    # ending

    def end(self) -> None:
        """End the loop; save nothing if it had ended in an earlier attempt."""
        if shutdown.answered() and self.flags.stopped:
            return  # interrupted by the script's own SIGTERM handler, not finished
        if not self._ended:
            self._running().end(self._final())

    def left(self) -> None:
        """Record that the script left the loop: its end, if the script continues or succeeds."""
        engine = self._running()
        engine.end_last_steps()
        error = getattr(sys, "last_value", None)
        try:
            snapshot = self._final()
        except Exception:
            return  # the exception of the loop propagates and must not be replaced

        def commit() -> None:
            # sys.last_value has changed if an error ended the script
            if getattr(sys, "last_value", None) is error:
                engine.end(snapshot)

        if not self._ended:
            engine.session.stages.end_later(commit)

    def close(self, *, broken: bool = False) -> None:
        """Leave the stage: the loop is over, or the process ends.

        Args:
            broken: nothing may be raised.
        """
        self._leave(self._running().session, broken=broken)

    def _leave(self, session: Session, *, broken: bool = False) -> None:
        self._engine = None
        trace_order.collect_graphs(False)
        session.leave_stage()
        session.beat("script")
        try:
            shutdown.in_training(False, quietly=broken)
        finally:
            undo, self._undo_signals = self._undo_signals, _nothing
            undo()

    def _final(self) -> Snapshot:
        engine = self._running()
        engine.stand(self._progress)
        return engine.capture(ended=True)

    def _running(self) -> StageEngine:
        if self._engine is None:
            raise UsageError(
                "The loop is not running.",
                hint="Use batches() within `for epoch in loop.epochs(...)`.",
            )
        return self._engine


def _check_place(session: Session) -> None:
    """Check that a loop can be followed here.

    Raises:
        UsageError: this is a forked process, or another stage runs.
    """
    if session.stages.forked:
        raise UsageError(
            "A `resumable` loop began in a forked child process, which cannot be resumed.",
            hint="Run the loop in the script's own process.",
        )
    if session.stages.inside:
        raise UsageError(
            "A loop began within another stage.", hint="Begin it after the other one has ended."
        )


def _save_policy(session: Session, stage: int, mine: CheckpointPolicy, *, flat: bool) -> SavePolicy:
    """Choose the save policy: the spec has priority over the script."""
    policy = session.job.checkpoint
    every = (policy.every_epochs, policy.every_steps, policy.every_seconds)
    if every == (None, None, None):
        every = (mine.every_epochs, mine.every_steps, mine.every_seconds)
    if flat and every[0] is not None:
        session.warn(
            'A loop over steps has no epochs, so it is saved as `every = "auto"` says.',
            'Set every = "500 steps" to save more often.',
        )
        every = (None, None, None)
    return session.save_policy(
        stage, replace(policy, every_epochs=every[0], every_steps=every[1], every_seconds=every[2])
    )


class LoopFlags(ComponentBase):
    """Capture and restore logs and stop flag of a loop; a component.

    Attributes:
        logs: metrics from the script.
        stopped: the script requested the end of the loop.
    """

    def __init__(self) -> None:
        self.logs: dict[str, float] = {}
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def log(self, values: dict[str, float]) -> None:
        self.logs.update(values)

    def clear_logs(self) -> None:
        self.logs.clear()

    def compared(self) -> dict[str, float]:
        """Return the logs that repeated steps must have, too; the script may log times as well."""
        return {
            name: value
            for name, value in self.logs.items()
            if name == "loss" or name.startswith("val_")
        }

    def capture(self, arrays: Tensors) -> TrainingState:
        return {"stop_training": self.stopped, "logs": dict(self.logs)}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        self.stopped = saved["stop_training"]
        self.logs.clear()
        self.logs.update(saved["logs"])


def _components(
    tracked: TrackedModels, state: TrackedState, random: RandomState
) -> tuple[ModelState, list[Component]]:
    """Make the components of a loop, in the order of their restore."""
    groups = Listing(tracked.groups, tracked.listed)
    models = ModelState(tracked.models, lambda: tracked.optimizers, groups, random)
    python = PythonState(
        tracked.roots(),
        lambda: [*models.components(), *random.variables(), *state.variables()],
        lambda: Stack(state.held),
    )
    return models, [state, random, _Graphs(models, random, state, python), python]


class _Graphs(ComponentBase):
    """Find caveats in the graphs that the loop traces; a component without state."""

    def __init__(
        self, models: ModelState, random: RandomState, state: TrackedState, python: PythonState
    ) -> None:
        self._models = models
        self._python = python
        self._random = random
        self._state = state
        self._found: dict[Caveat, None] = {}
        trace_order.collect_graphs(True)

    def caveats(self) -> list[Caveat]:
        graphs = trace_order.take_graphs()
        if graphs:
            self._found |= dict.fromkeys(determinism.checked(lambda: self._look(graphs)))
        return list(self._found)

    def _look(self, graphs: list[Any]) -> list[Caveat]:
        known = [
            *self._models.components(),
            *self._random.variables(),
            *self._state.variables(),
            *self._python.variables(),
        ]
        trainable = self._models.trainable()
        # only graphs that train: others, e.g. an evaluation, may have variables of their own
        steps = [graph for graph in graphs if determinism.writes(graph, trainable)]
        # metrics of train_on_batch are no caveat: it resets them before it updates them
        resetting = {
            id(graph)
            for model in self._models.models.values()
            for graph in determinism.graphs_of(getattr(model, "train_function", None))
        }
        own = [graph for graph in steps if id(graph) in resetting]
        others = [graph for graph in steps if id(graph) not in resetting]
        remedy = "make them attributes of a layer of the model, or add them to state="
        return [
            *determinism.of_graphs(own, [*known, *self._models.metrics()], remedy),
            *determinism.of_graphs(others, known, remedy),
        ]


def _nothing() -> None:
    pass
