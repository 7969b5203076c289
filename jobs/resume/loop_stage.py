"""The stage behind a loop: where it is, what is saved of it, and how it is put back."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.save_policy import Cadence
from rekindle.jobs.attempt.session import Departure, Session, Snapshot
from rekindle.jobs.capture import rng, trace_order, variables
from rekindle.jobs.capture.codec import Tensors, read_state
from rekindle.jobs.capture.tracked_objects import Belongings
from rekindle.jobs.data.loop_data import Batches
from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.resume import model_config, warm_start
from rekindle.state.errors import RekindleError, StateMismatch, UsageError
from rekindle.state.run.checkpoints import Position


class LoopStage:
    """
    Attributes:
        step, epoch: finished in this loop.
        epoch_step: steps finished of the epoch in work.
        logs: metrics that the script told.
        stopped: the script wants no further step or epoch.
        resumed: name of the checkpoint it went on from.
    """

    def __init__(self, policy: CheckpointPolicy, belongings: Belongings) -> None:
        self.step = 0
        self.epoch = 0
        self.epoch_step = 0
        self.logs: dict[str, float] = {}
        self.stopped = False
        self.resumed: str | None = None
        self._policy = policy
        self._belongings = belongings
        self._streams: dict[int, Batches] = {}
        # index of the stream of each pass that was begun, in order: a dataset that shares its
        # shuffle with another draws from it by turns
        self._passes: list[int] = []
        self._calls: list[int] = []
        self._call = 0
        self._exhausted = False
        self._epoch_random: dict[str, Any] = {}
        self._epoch_tensors: Tensors = {}
        self._session: Session | None = None
        self._number = 0
        self._base = 0
        self._ended = False
        self._saved: dict[str, Any] = {}
        self._saved_tensors: Tensors = {}
        self._within: dict[str, Any] | None = None
        self._fingerprint: dict[str, Any] = {}
        self._inexact: list[str] = []
        self._undo_signals: Callable[[], None] = _nothing

    @property
    def over(self) -> bool:
        """Nothing of it is left to do."""
        return self.stopped or self._ended

    # beginning

    def begin(self, opened: Callable[[], Session], *, flat: bool) -> None:
        """Enters the stage: puts it back to its checkpoint, or takes the first one."""
        if self._session is not None:
            raise UsageError("The loop runs already.", hint="Make one resumable() for each loop.")
        daemon_or_with = Session.current is not None
        session = opened()
        if session.forked:
            raise UsageError(
                "A `resumable` loop was begun in a forked child process, which cannot be resumed.",
                hint="Run the loop in the script's own process.",
            )
        if session.within:
            raise UsageError(
                "A loop was begun within another stage.", hint="Let the other one end first."
            )
        if not daemon_or_with and threading.current_thread() is threading.main_thread():
            self._undo_signals = shutdown.install_alone()
        self._session = session
        self._number = session.enter_stage()
        shutdown.training(True)
        self._cadence = session.cadence
        session.cadence = self._cadence_for(session, flat=flat)
        if not trace_order.watch(self._belongings.models.values()):
            session.warn(
                "Where batches differ in size, a relaunch may differ in the last bits: "
                "this version of TensorFlow keeps its traces in an unknown way.",
                "Give batches of one size.",
            )
        try:
            self._restore_or_begin(session.depart(self._number, read_state))
        except RekindleError as error:
            session.refuse(error)
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def close(self, *, broken: bool = False) -> None:
        """The loop is over, or the process ends; ``broken``: nothing may be raised now."""
        session, self._session = self._now(), None
        self._saved_tensors = {}
        session.cadence = self._cadence
        session.leave_stage()
        session.beat("script")
        try:
            shutdown.training(False, quietly=broken)
        finally:
            undo, self._undo_signals = self._undo_signals, _nothing
            undo()

    def _restore_or_begin(self, departure: Departure) -> None:
        session = self._now()
        for index, stream in self._streams.items():
            self._key(index, stream)
        self._belongings.build()
        self._fingerprint = self._belongings.fingerprint({"the stage": "a loop"})
        models = self._belongings.models
        model_config.store(session.run, self._number, models)
        if departure.checkpoint is None:
            begun = warm_start.apply(session, self._number, models)
            self._base = session.step
            snapshot = self._snapshot()
            if self._inexact:
                raise UsageError(
                    f"Not all of the state can be saved: {'; '.join(self._inexact)}.",
                    hint="Name only what can be put back.",
                )
            session.resumed(
                self._number, departure, epoch=0, step=self._base, restored=begun, inexact=[]
            )
            session.save(snapshot, "start")
            session.beat("compile")
            return
        state = departure.state
        if not session.job.allow_change:
            found = variables.compare(self._fingerprint, state["fingerprint"])
            if found is not None:
                raise variables.refuse(found)
        if "loop" not in state:
            raise variables.refuse("this stage was a call of fit")
        if session.show is not None and session.show[0] == self._number:
            variables.restore(self._belongings.groups(), state["variables"], departure.tensors)
            session.show[1](models)
        self.resumed = departure.checkpoint.name
        self._saved, self._saved_tensors = state, departure.tensors
        position, loop = state["position"], state["loop"]
        self._base, self.step = position["base"], position["step"] - position["base"]
        self.epoch, self.epoch_step = position["epoch"], position["epoch_step"]
        self._calls = list(loop["calls"])
        self._passes = list(loop["passes"])
        trace_order.restore(loop.get("traces", {}))  # older checkpoints have none
        self._within = loop if loop["call"] else None
        # the state is the one on disk until a batch is trained, and reading may take hours
        shutdown.unchanged(True)
        self._replay(set(self._streams))
        shutdown.unchanged(False)
        self._restore()
        self._ended = bool(position["end"])
        if self._ended:
            session.stage_restored(self._number, departure)
            return
        if self._within is None:
            self._forget()
        session.resumed(
            self._number,
            departure,
            epoch=self.epoch,
            step=position["step"],
            restored=_restored(state),
            inexact=state["inexact"],
        )
        session.beat("compile")

    def _cadence_for(self, session: Session, *, flat: bool) -> Cadence:
        """The spec's where it says something, else what the script says."""
        policy = session.job.checkpoint
        told = (policy.every_epochs, policy.every_steps, policy.every_seconds)
        if told == (None, None, None):
            mine = self._policy
            told = (mine.every_epochs, mine.every_steps, mine.every_seconds)
        if flat and told[0] is not None:
            session.warn(
                "A loop over steps has no epochs after which it could be saved.",
                'It is saved each 10 minutes; say every = "500 steps" for more.',
            )
            told = (None, None, None)
        cadence = Cadence(
            replace(policy, every_epochs=told[0], every_steps=told[1], every_seconds=told[2])
        )
        cadence.saved(0, session.step, time.monotonic())
        return cadence

    # data

    def add_stream(self, data: Any, batch_size: int | None, *, shuffle: bool) -> Batches:
        if self._session is not None:
            raise UsageError(
                "Data was added within the loop.",
                hint="Call data() before the loop begins, and use what it gives.",
            )
        index = len(self._streams)
        self._streams[index] = self._stream(index, data, batch_size, shuffle=shuffle)
        return self._streams[index]

    def next_call(
        self, data: Any, batch_size: int | None, *, shuffle: bool
    ) -> tuple[Batches, bool]:
        """The stream for the next `batches` of this epoch, and whether anything of it is left."""
        session = self._now()
        number, self._call = self._call, self._call + 1
        try:
            stream = self._stream_of_call(number, data, batch_size, shuffle=shuffle)
        except StateMismatch as error:
            session.refuse(error)  # it is another stream than in the checkpoint
            raise
        within = self._within
        if within is None:
            self._exhausted = False
            return stream, True
        if number < within["call"] - 1:
            return stream, False  # it was over before the checkpoint
        # the code before this has begun the epoch once more: what it changed is put back
        self._restore()
        self._forget()
        self._within = None
        self._exhausted = within["exhausted"]
        return stream, not self._exhausted

    def _stream_of_call(
        self, number: int, data: Any, batch_size: int | None, *, shuffle: bool
    ) -> Batches:
        """The n-th call in an epoch goes on with what the n-th call of the last one used."""
        if isinstance(data, Batches):
            if number == len(self._calls):
                self._calls.append(next(i for i, s in self._streams.items() if s is data))
            return data
        if number == len(self._calls):
            taken = {*self._streams, *self._calls, *self._passes}
            self._calls.append(max(taken, default=-1) + 1)
        index = self._calls[number]
        if index in self._streams:
            self._streams[index].renew(data)
        else:
            self._streams[index] = self._stream(index, data, batch_size, shuffle=shuffle)
            self._key(index, self._streams[index])
            self._replay({index})
        return self._streams[index]

    def _stream(self, index: int, data: Any, batch_size: int | None, *, shuffle: bool) -> Batches:
        made = Batches(index, data, batch_size, shuffle, lambda: self._passes.append(index))
        made.beat = self._seeks
        return made

    def _seeks(self) -> None:
        """Between two pieces of data that is read again: nothing is there yet to be saved."""
        self._now().beat("seek")
        if shutdown.requested():
            shutdown.leave()

    def _key(self, index: int, stream: Batches) -> None:
        stream.key = (self._now().job.seed, self._number * 4096 + index)

    def _replay(self, indices: set[int]) -> None:
        """Begins the passes of these streams as often as before, and seeks in those in work."""
        positions = {int(i): p for i, p in self._saved.get("loop", {}).get("streams", {}).items()}
        last = {index: at for at, index in enumerate(self._passes)}
        for index in indices & positions.keys():
            self._streams[index].check(positions[index])
        for at, index in enumerate(self._passes):
            if index in indices and index in positions:
                if last[index] == at and positions[index]["live"]:
                    self._streams[index].seek(positions[index], self._saved_tensors)
                else:
                    self._streams[index].replay()

    # going on

    def step_ended(self) -> None:
        self.step += 1
        self.epoch_step += 1

    def boundary(self) -> None:
        """Between two steps: nothing of either is under way."""
        session = self._now()
        session.step = self._base + self.step
        session.trained = True
        session.heartbeat.beat("step", self.epoch, session.step)
        if session.must_stop():
            self._leave()
        if session.cadence.due_in_epoch(session.step, time.monotonic()):
            why = "steps" if session.cadence.policy.every_steps else "time"
            session.save(self._snapshot(), why)

    def batches_over(self) -> None:
        """All batches of a call are trained; code of the epoch after them may follow."""
        self._exhausted = True
        self._now().beat("validation")
        if shutdown.requested():
            self._leave()

    def epoch_begins(self) -> None:
        self._call = 0
        self._now().epoch = self.epoch
        if self._within is not None:
            # what the code before the batches draws, it draws once more
            rng.restore(self._within["random"], self._saved_tensors)
            self._epoch_random = self._within["random"]
            self._epoch_tensors = {
                key: value for key, value in self._saved_tensors.items() if key.startswith("epoch/")
            }
            return
        self.epoch_step = 0
        self.logs.clear()
        self._epoch_tensors = {}
        self._epoch_random = rng.capture(self._epoch_tensors, "epoch")

    def epoch_ended(self, seconds: float) -> None:
        session = self._now()
        self._within = None
        self._call = self.epoch_step = 0
        self._exhausted = False
        self.epoch += 1
        session.epoch, session.step = self.epoch, self._base + self.step
        session.trained = True
        best = session.epoch_ended(self._number, self.epoch - 1, seconds, dict(self.logs))
        asked = session.must_stop()
        if (
            best
            or asked
            or session.cadence.due_after_epoch(self.epoch, session.step, time.monotonic())
        ):
            session.save(
                self._snapshot(), "signal" if asked else "best" if best else "epoch", best=best
            )
        if asked:
            shutdown.leave()
        session.beat("step")

    # ending

    def end(self) -> None:
        """The last step is done; nothing is saved where it was done in an earlier attempt."""
        if shutdown.answered() and self.stopped:
            return  # interrupted by the script's own handler of SIGTERM, not finished
        if not self._ended:
            self._commit_end(self._now(), self._snapshot(end=True))

    def left(self) -> None:
        """The script left the loop; for good, if it then goes on or ends well."""
        session = self._now()
        error = getattr(sys, "last_value", None)
        try:
            snapshot = self._snapshot(end=True)
        except Exception:
            return  # whatever was raised in the loop is on its way up, and says more

        def commit() -> None:
            # an error that ended the script has been printed by now
            if getattr(sys, "last_value", None) is error:
                self._commit_end(session, snapshot)

        if not self._ended:
            session.left = commit

    def _commit_end(self, session: Session, snapshot: Snapshot) -> None:
        session.step = snapshot.position.step
        session.save(snapshot, "end")
        session.stage_ended(self._number, self.epoch)

    def _leave(self) -> None:
        self._now().save(self._snapshot(), "signal")
        shutdown.leave()

    # out and in

    def _snapshot(self, *, end: bool = False) -> Snapshot:
        """Everything, as of now; arrays are copies."""
        arrays: Tensors = {}
        groups = self._belongings.groups()
        described = variables.capture(groups, arrays)
        own, self._inexact = self._belongings.capture(arrays)
        for text in self._inexact:
            self._now().warn(f"Not restored on a relaunch: {text}.", "Everything else is.")
        streams = {str(index): stream.position(arrays) for index, stream in self._streams.items()}
        arrays.update(self._epoch_tensors)
        step = self._base + self.step
        epoch_step = 0 if end else self.epoch_step
        state = {
            "position": {
                "stage": self._number,
                "epoch": self.epoch,
                "step": step,
                "epoch_step": epoch_step,
                "base": self._base,
                "end": end,
            },
            "loop": {
                "call": self._call,
                "exhausted": self._exhausted,
                "calls": self._calls,
                "passes": self._passes,
                "streams": streams,
                "random": self._epoch_random,
                "traces": trace_order.captured(),
            },
            "variables": described,
            "random": rng.capture(arrays),
            "state": own,
            "stop_training": self.stopped,
            "logs": dict(self.logs),
            "inexact": self._inexact,
            "fingerprint": self._fingerprint,
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        }
        return Snapshot(
            Position(self._number, self.epoch, step, end),
            arrays,
            state,
            dict(self.logs),
            finite=variables.non_finite(groups, arrays) is None,
        )

    def _restore(self) -> None:
        state, arrays = self._saved, self._saved_tensors
        variables.restore(
            self._belongings.groups(),
            state["variables"],
            arrays,
            lenient=self._now().job.allow_change,
        )
        self._belongings.restore(state["state"], arrays)
        piped = {number for stream in self._streams.values() for number in stream.piped}
        kept = [entry for entry in state["random"]["seeds"] if entry[0] not in piped]
        rng.restore({**state["random"], "seeds": kept}, arrays)
        self.stopped = state["stop_training"]
        self.logs.clear()
        self.logs.update(state["logs"])

    def _forget(self) -> None:
        """Lets go of a second copy of the model; data that is not known yet needs its part."""
        self._saved_tensors = {
            key: value for key, value in self._saved_tensors.items() if key.startswith("data/")
        }

    def _now(self) -> Session:
        if self._session is None:
            raise UsageError(
                "The loop does not run.",
                hint="Use batches() within `for epoch in loop.epochs(...)`.",
            )
        return self._session


def _restored(state: dict[str, Any]) -> list[str]:
    """For the receipt: what was put back, in words."""
    parts = [
        f"{len(entries)} {group} variables"
        for group, entries in state["variables"].items()
        if entries
    ]
    parts += ["position in the data", "random state"]
    return [*parts, f"state: {', '.join(state['state'])}"] if state["state"] else parts


def _nothing() -> None:
    pass
