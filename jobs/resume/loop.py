"""``resumable``: training loops that the script writes itself, as exact as ``fit``.

A loop is a stage, as a call of ``fit`` is: between two of its steps everything that belongs
to it can be saved, and a relaunched script begins it at the step after the last one saved.
Under a daemon it uses the job's run directory; otherwise a folder beside the script.
docs/loops.md shows its use.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rekindle.jobs.attempt import shutdown, standalone
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import rng
from rekindle.jobs.capture.tracked_objects import TrackedModels
from rekindle.jobs.data.loop_batches import Batches
from rekindle.jobs.resume.loop_stage import LoopStage
from rekindle.state.errors import UsageError

rng.watch_seed_generators()


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
    """A training loop that goes on where it was, whatever ended the process.

    ``for step in resumable(steps=1000, model=model): ...`` gives the numbers of the steps that
    are left, from 0; :meth:`Loop.epochs` and :meth:`Loop.batches` give epochs and their
    batches. After each step a checkpoint may be taken; SIGTERM (and Ctrl-C, without a daemon)
    takes one and ends the process with exit code 75.

    Args:
        steps: how many steps a ``for`` over the loop itself has; not for ``epochs``.
        model, optimizer, metrics: Keras objects whose variables are saved and put back: one,
            or a list or dict of them. Optimizers of compiled models need not be named.
        state: anything else, by name: plain data, arrays, random generators, variables,
            objects with ``state_dict`` and ``load_state_dict``, objects of plain attributes.
            Values are put back in place, and ``state["best"] = ...`` in the loop is saved.
        every: ``"500 steps"`` or 500, ``"epoch"``, ``"10 min"``; by default each epoch and each
            10 minutes. A spec that says ``every`` itself wins.
        keep, monitor, mode, folder, seed: as in a spec; only without a daemon. ``folder`` is
            ``train.rekindle`` beside ``train.py`` by default; ``seed`` decides the order of
            arrays, nothing else.

    Raises:
        UsageError: the arguments do not fit each other.
    """
    try:
        policy = standalone.policy_of(every, keep, monitor, mode)
    except ValueError as error:
        raise UsageError(
            f"`every` is not understood: {error}.",
            hint='Write 500, "500 steps", "epoch", "5 epochs" or "10 min".',
        ) from None
    where = Path(folder) if folder is not None else None

    def opened() -> Session:
        return Session.current or standalone.session(
            where or standalone.default_folder(), policy, seed
        )

    tracked = TrackedModels(model, optimizer, metrics)
    stage = LoopStage(policy, tracked, {} if state is None else state)
    return Loop(opened, steps, stage)


class Loop:
    """What :func:`resumable` gives; one stage of the script."""

    def __init__(self, opened: Callable[[], Session], steps: int | None, stage: LoopStage) -> None:
        self._opened = opened
        self._steps = steps
        self._stage = stage
        self._undo: list[Callable[[], None]] = []

    @property
    def step(self) -> int:
        """Steps finished, over all epochs of the loop."""
        return self._stage.step

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self._stage.epoch

    @property
    def resumed(self) -> str | None:
        """Name of the checkpoint that the loop went on from, None where it began."""
        return self._stage.resumed

    def __iter__(self) -> Iterator[int]:
        """Numbers of the steps that are left, 0-based.

        Raises:
            UsageError: no number of steps was given.
        """
        if self._steps is None:
            raise UsageError(
                "The loop has no number of steps.",
                hint="Write resumable(steps=1000, ...), or use loop.epochs(10).",
            )
        return self._run(self._flat(self._steps), flat=True)

    def epochs(self, count: int) -> Iterator[int]:
        """Numbers of the epochs that are left, 0-based; the first may have begun already.

        In an epoch that had begun, :meth:`batches` gives what is left of it, and everything
        that the code before it has changed is put back.
        """
        return self._run(self._epochs(count), flat=False)

    def batches(
        self, data: Any, batch_size: int | None = None, *, shuffle: bool = True
    ) -> Iterator[Any]:
        """The batches of one pass over ``data``, each of which is a step; within an epoch.

        Args:
            data: what :meth:`data` takes or gave; the same in each epoch.
            batch_size, shuffle: for arrays; ``shuffle`` for a ``PyDataset``, too.
        """
        stage = self._stage
        stream, goes_on = stage.next_call(data, batch_size, shuffle=shuffle)
        if not goes_on:
            return
        stream.open()
        while True:
            try:
                batch = stream.take()
            except StopIteration:
                break
            try:
                yield batch
            except GeneratorExit:
                stage.step_ended()
                stream.close()
                raise
            stage.step_ended()
            stage.boundary()
        stage.batches_over()

    def data(self, data: Any, batch_size: int | None = None, *, shuffle: bool = True) -> Batches:
        """Data whose position is saved with the loop; call it before the loop begins.

        ``next(data)`` gives batch after batch, over all passes; ``for batch in data`` is one
        pass, which is a step for nobody (a validation, say); :meth:`batches` takes it, too.

        Args:
            data: arrays (one, or a tuple, list or dict of them) with a ``batch_size``; a
                ``tf.data.Dataset``; a ``PyDataset``; any iterable; or a function without
                arguments that returns one of the last three, called at each pass.
        """
        return self._stage.add_stream(data, batch_size, shuffle=shuffle)

    def log(self, **values: float) -> None:
        """Metrics of the epoch (or of the last steps) for the journal, `show` and `monitor`."""
        self._stage.log({name: float(value) for name, value in values.items()})

    def stop(self) -> None:
        """Ends the loop after this step; over epochs, after this epoch."""
        self._stage.stop()

    def __enter__(self) -> "Loop":  # noqa: PYI034  typing.Self is of Python 3.11
        """Makes ``fit`` resumable without a daemon, until the end of the ``with`` block."""
        if Session.current is None:
            from rekindle.jobs.resume import fit

            session = Session.use(self._opened())
            self._undo = [shutdown.install_alone(), fit.install(session)]
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

    def _run(self, body: Iterator[int], *, flat: bool) -> Iterator[int]:
        stage = self._stage
        stage.begin(self._opened, flat=flat)
        broken = False
        try:
            yield from body
            stage.end()
        except GeneratorExit:
            # by `break`, or by an error in its body: what comes next will tell
            broken = True
            stage.left()
            raise
        finally:
            stage.close(broken=broken)

    def _flat(self, steps: int) -> Iterator[int]:
        stage = self._stage
        while stage.step < steps and not stage.over:
            yield stage.step
            stage.step_ended()
            stage.boundary()

    def _epochs(self, count: int) -> Iterator[int]:
        stage = self._stage
        while stage.epoch < count and not stage.over:
            stage.epoch_begins()
            began = time.monotonic()
            yield stage.epoch
            stage.epoch_ended(time.monotonic() - began)
