"""``resumable``: training loops written in the script, resumed as exactly as ``fit``.

A loop is a stage, as a call of ``fit`` is: its whole state can be saved between two steps, and a
relaunched script begins it at the step after the last saved one. Under a daemon it uses the
job's run directory; otherwise a folder beside the script. docs/loops.md shows its use.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rekindle.jobs.attempt import shutdown, standalone
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.bytecode import enumerations
from rekindle.jobs.heartbeat import Plan
from rekindle.jobs.keras_compat import followed
from rekindle.jobs.resume import fit_hook
from rekindle.state.errors import UsageError

if TYPE_CHECKING:
    from rekindle.jobs.data.loop_batches import Batches
    from rekindle.jobs.resume.loop_stage import LoopStage

fit_hook.watch_seed_generators()


def resumable(
    steps: int | None = None,
    *,
    model: Any = None,
    optimizer: Any = None,
    metrics: Any = None,
    state: dict[str, Any] | None = None,
    every: str | int | None = None,
    keep: int = 3,
    monitor: str | None = None,
    mode: str = "auto",
    folder: str | Path | None = None,
    seed: int = 0,
) -> "Loop":
    """Make a training loop that is resumed exactly, whatever ended the process.

    ``for step in resumable(steps=1000, model=model): ...`` yields the 0-based numbers of the
    steps that are left; :meth:`Loop.epochs` and :meth:`Loop.batches` yield epochs and their
    batches. After each step a checkpoint may be taken; SIGTERM (and Ctrl-C, without a daemon)
    takes one and ends the process with exit code 75.

    Args:
        steps: number of steps of a ``for`` over the loop itself; not for ``epochs``.
        model, optimizer, metrics: Keras objects whose variables are saved and restored: one,
            or a list or dict of them. Optimizers of compiled models are found without it.
        state: anything else, by name: plain data, arrays, random generators, variables,
            objects with ``state_dict`` and ``load_state_dict``, objects of plain attributes.
            Values are restored in place, and ``state["best"] = ...`` in the loop is saved.
        every: ``"500 steps"`` or 500, ``"epoch"``, ``"10 min"``; by default each epoch, and
            within one at most 10 minutes apart. ``every`` in a spec has priority.
        keep, monitor, mode, folder, seed: as in a spec; only without a daemon. ``folder`` is
            ``train.rekindle`` beside ``train.py`` by default; ``seed`` determines the order of
            arrays, nothing else.

    Raises:
        UsageError: an argument is invalid.
    """
    try:
        policy = standalone.policy_of(every, keep, monitor, mode)
    except ValueError as error:
        raise UsageError(
            f"`every` is invalid: {error}.",
            hint='Write 500, "500 steps", "epoch", "5 epochs" or "10 min".',
        ) from None
    where = Path(folder) if folder is not None else None

    def opened() -> Session:
        return Session.current or standalone.session(
            where or standalone.default_folder(), policy, seed
        )

    if not followed.choose_for((model, optimizer, metrics)):
        raise UsageError(
            f"This process follows {followed.module().__name__}, and these are objects of another "
            "Keras.",
            hint="Train with one of them in each job.",
        )
    # only now: the objects decide which Keras is followed
    from rekindle.jobs.capture.tracked_objects import TrackedModels
    from rekindle.jobs.resume.loop_stage import LoopStage

    tracked = TrackedModels(model, optimizer, metrics)
    stage = LoopStage(policy, tracked, {} if state is None else state)
    return Loop(opened, steps, stage)


class Loop:
    """Iterate over steps or epochs of a loop, which is one stage; made by :func:`resumable`."""

    def __init__(
        self, opened: Callable[[], Session], steps: int | None, stage: "LoopStage"
    ) -> None:
        self._opened = opened
        self._steps = steps
        self._stage = stage
        self._undo: list[Callable[[], None]] = []

    @property
    def step(self) -> int:
        """Finished steps, over all epochs of the loop."""
        return self._stage.step

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self._stage.epoch

    @property
    def resumed(self) -> str | None:
        """Name of the checkpoint that the loop was resumed from; None if it began."""
        return self._stage.resumed

    def __iter__(self) -> Iterator[int]:
        """Iterate over the 0-based numbers of the steps that are left.

        Raises:
            UsageError: the loop has no number of steps.
        """
        if self._steps is None:
            raise UsageError(
                "The loop has no number of steps.",
                hint="Write resumable(steps=1000, ...), or use loop.epochs(10).",
            )
        return self._run(self._flat(self._steps), Plan(steps_per_epoch=self._steps), flat=True)

    def epochs(self, count: int) -> Iterator[int]:
        """Iterate over the 0-based numbers of the epochs that are left.

        If the first of them had begun, :meth:`batches` yields the rest of it, after restoring
        everything that the code before it has changed.
        """
        return self._run(self._epochs(count), Plan(epochs=count), flat=False)

    def batches(
        self, data: Any, batch_size: int | None = None, *, shuffle: bool = True
    ) -> Iterator[Any]:
        """Iterate over the batches of one pass over ``data`` within an epoch; each is a step.

        Args:
            data: an argument or result of :meth:`data`; the same in each epoch.
            batch_size, shuffle: for arrays; ``shuffle`` also for a ``PyDataset``.
        """
        stage = self._stage
        stream, has_batches = stage.next_call(data, batch_size, shuffle=shuffle)
        if not has_batches:
            return
        enumerations.advance(stream.open())
        while True:
            try:
                batch = stream.take()
            except StopIteration:
                break
            try:
                yield batch
            except GeneratorExit:
                stage.step_ended()
                stage.batches_left()
                stream.close()
                raise
            stage.step_ended()
            stage.boundary()
        stage.batches_over()

    def data(self, data: Any, batch_size: int | None = None, *, shuffle: bool = True) -> "Batches":
        """Add data whose position is saved with the loop; call it before the loop begins.

        ``next(data)`` returns the next batch, over all passes; ``for batch in data`` is one
        pass whose batches are not steps (e.g. a validation); :meth:`batches` accepts it, too.

        Args:
            data: arrays (one, or a tuple, list or dict of them) with a ``batch_size``; a
                ``tf.data.Dataset``; a ``PyDataset``; any iterable; or a function without
                arguments that returns one of the last three, called at each pass.
        """
        return self._stage.add_stream(data, batch_size, shuffle=shuffle)

    def log(self, **values: float) -> None:
        """Log metrics of the epoch, or of the last steps, for the journal, `show` and `monitor`."""
        self._stage.flags.log({name: float(value) for name, value in values.items()})

    def stop(self) -> None:
        """End the loop after this step; over epochs, after this epoch."""
        self._stage.flags.stop()

    def __enter__(self) -> "Loop":  # noqa: PYI034  typing.Self is of Python 3.11
        """Make ``fit`` resumable without a daemon, until the end of the ``with`` block."""
        if Session.current is None:
            session = Session.use(self._opened())
            followed_fit = fit_hook.install(session, followed.module())
            self._undo = [shutdown.install_alone(), followed_fit]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session = Session.current
        if self._undo and session is not None:
            if kind is None:
                session.stages.settle()
            session.stages.forget_end()
            Session.drop()
            while self._undo:
                self._undo.pop()()

    def _run(self, body: Iterator[int], plan: Plan, *, flat: bool) -> Iterator[int]:
        stage = self._stage
        stage.begin(self._opened, plan, flat=flat)
        broken = False
        try:
            yield from body
            stage.end()
        except GeneratorExit:
            # left by `break` or by an error in its body: whether the script continues decides
            broken = True
            stage.left()
            raise
        finally:
            stage.close(broken=broken)

    def _flat(self, steps: int) -> Iterator[int]:
        stage = self._stage
        enumerations.advance(stage.step)
        while stage.step < steps and not stage.over:
            yield stage.step
            stage.step_ended()
            stage.boundary()

    def _epochs(self, count: int) -> Iterator[int]:
        stage = self._stage
        enumerations.advance(stage.epoch)
        while stage.epoch < count and not stage.over:
            stage.epoch_begins()
            began = time.monotonic()
            yield stage.epoch
            stage.epoch_ended(time.monotonic() - began)
