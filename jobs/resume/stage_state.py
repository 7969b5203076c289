"""State of a stage: its components, and the checkpoint they are restored from."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import fingerprint
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Component, Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.ends import fork
from rekindle.jobs.ends.fork import OwnValues
from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.jobs.proof import decodable, round_trip
from rekindle.jobs.proof.epoch_start import EpochStarts
from rekindle.jobs.proof.round_trip import Comparison, Gap
from rekindle.jobs.python_state import saved as saved_python
from rekindle.jobs.saving.checkpoint_store import RestorePoint, Snapshot
from rekindle.state.counted import counted
from rekindle.state.run.training_state import PositionState, TrainingState


class Seekable(Component, Protocol):
    """Capture, restore and seek the data of a stage; a component."""

    def seek(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Seek to the batch of the checkpoint; call before everything else is restored."""
        ...


class StageState:
    """Check, restore and capture all components of one stage.

    Args:
        point: checkpoint that the stage is resumed from.
        models, data: the components that every stage has.
        others: in the order of their restore, after models; data comes last.
        kind: fit or loop.

    Attributes:
        allowed: the change of the script that was allowed, in words.
        gaps: what was not restored, as last compared.
        epochs: keeps what is small of the state at the start of an epoch.

    Raises:
        StateMismatch: the script differs from that of the checkpoint.
    """

    def __init__(
        self,
        session: Session,
        point: RestorePoint,
        models: ModelState,
        data: Seekable,
        others: Sequence[Component],
        kind: str,
    ) -> None:
        self.models = models
        self._data = data
        self._components = [models, *others, data]
        self.caveats = Caveats(session.warn, point.state.get("inexact", []))
        self.caveats.add(Caveat(*one) for one in session.stages.table.caveats())
        self._kind = kind
        self._fingerprint = fingerprint.merged([c.fingerprint() for c in self._components])
        found = None
        if point.checkpoint is not None:
            found = self._difference(point.state)
            earlier = point.state["fingerprint"]
            self.caveats.add(fingerprint.not_compared(self._fingerprint, earlier))
        self._own = self._own_values(session, point)
        refusal = session.stages.table.refusal
        if self._own is not None:
            self._check_fork(session, point.state)
        elif refusal is not None or (found is not None and not session.job.allow_change):
            raise fingerprint.refuse(found or refusal or "")
        self.allowed = found
        self._is_complete = models.is_complete()
        self.gaps: list[Gap] = []
        self._decoded = False
        self.epochs = EpochStarts(models, others)

    def _own_values(self, session: Session, point: RestorePoint) -> OwnValues | None:
        """Return what the script of a fork sets itself; None in other jobs and own checkpoints."""
        fork = session.job.fork
        self._fork = fork
        if fork is None or not point.is_of(fork):
            return None
        own_random = session.stages.table.has_own_random
        return OwnValues(fork, point.state, self.models, own_random=own_random)

    def _check_fork(self, session: Session, saved: TrainingState) -> None:
        """Check that the model is the one of the other job, and name all other differences.

        Raises:
            StateMismatch: it is another one, or the stage is.
        """
        assert self._fork is not None
        then = saved["fingerprint"]
        was = "loop" if "loop" in saved else "fit"
        found = None if was == self._kind else f"this stage was a {was} and is a {self._kind}"
        found = found or fingerprint.compare_layers(self._fingerprint, then)
        found = found or self.models.other_model(saved)
        if found is not None:
            raise fork.refuse(self._fork, found)
        texts = [*fingerprint.other_differences(self._fingerprint, then)]
        replaced = fingerprint.replaced_optimizers(self._fingerprint, then)
        texts += [
            f"the {name} begins without what the earlier one had learned" for name in replaced
        ]
        texts += [
            text
            for one in self._components
            if not (replaced and one is self.models) and (text := one.difference(saved)) is not None
        ]
        batches = saved["position"]["epoch_step"]
        if batches and any("batch" in text for text in texts):
            texts.append(
                f"the epoch in progress continues after {counted(batches, 'batch', 'batches')}"
                " of the new size"
            )
        for text in dict.fromkeys(texts):
            session.note_change(text)
        self.caveats.add([fork.caveat(self._fork)])

    def _difference(self, saved: TrainingState) -> str | None:
        was = "loop" if "loop" in saved else "fit"
        if was != self._kind:
            return f"this stage was a {was} and is a {self._kind}"
        found = fingerprint.compare(self._fingerprint, saved["fingerprint"])
        for component in self._components:
            found = found or component.difference(saved)
        return found

    def seek(self, point: RestorePoint) -> None:
        """Seek to the batch of the checkpoint."""
        self._data.seek(point.state, point.tensors, lenient=self.allowed is not None)

    def restored_models(self, point: RestorePoint) -> dict[str, Any]:
        """Restore only the models, and return them by label."""
        self.models.restore(point.state, point.tensors, lenient=False)
        return self.models.models

    def restore(self, point: RestorePoint) -> None:
        """Restore everything but the data from the checkpoint."""
        own, saved = self._own, point.state
        if self.allowed is not None:
            saved = saved_python.without(saved, self._changed_optimizers(saved))
        for component in self._components:
            if own is None or not (own.random and isinstance(component, RandomState)):
                component.restore(saved, point.tensors, lenient=self.allowed is not None)
        if own is not None:
            own.put_back()
        self.look_for_caveats()

    def _changed_optimizers(self, saved: TrainingState) -> list[str]:
        """List the paths of optimizers with other settings: they keep slots of their own."""
        names = fingerprint.changed_optimizers(self._fingerprint, saved["fingerprint"])
        return [f"model.{name.removeprefix('optimizer.')}" for name in names]

    def restore_again(self, point: RestorePoint) -> None:
        """Restore within an epoch, once callbacks or code before the batches have run again."""
        self.restore(point)
        self.compare(point)

    def epoch_resumed(self, point: RestorePoint) -> None:
        """Restore what is small of the state at the start of the epoch of a checkpoint."""
        if self.allowed is None and self._own is None:
            self.epochs.resume(point.state, point.tensors)

    def compare(self, point: RestorePoint) -> None:
        """Capture the restored state again, and report what differs from the checkpoint."""
        if self.allowed is not None or point.checkpoint is None or self._own is not None:
            return  # what does not fit was left out, as a person has allowed
        arrays = Comparison(point.tensors)
        state: dict[str, Any] = {}
        for component in self._components:
            state |= component.capture_again(arrays)
        unchecked = {key for c in self._components for key in c.unchecked(point.state)}
        saved: dict[str, Any] = dict(point.state)
        if point.reopened:
            # a pass that lasted over epochs was dropped at the end, and is begun again
            saved, state = (
                {key: value for key, value in one.items() if key not in ("iterator", "hidden")}
                for one in (saved, state)
            )
        self.gaps = round_trip.gaps(saved, state, arrays, unchecked=unchecked)
        self.caveats.add(round_trip.caveats(point.checkpoint.name, self.gaps))

    def compare_models(self, point: RestorePoint) -> None:
        """Compare the variables of a finished stage alone: it is not trained in this attempt."""
        if self.allowed is not None or point.checkpoint is None or "dropped" in point.state:
            return
        groups = tuple(f"{name}/" for name in point.state["variables"])
        arrays = Comparison({k: v for k, v in point.tensors.items() if k.startswith(groups)})
        state = self.models.capture_variables(arrays)
        saved = {"variables": point.state["variables"]}
        found = round_trip.gaps(saved, state, arrays, unchecked=())
        self.caveats.receipt_written()  # a finished stage has none: what differs is a warning
        self.caveats.add(round_trip.caveats(point.checkpoint.name, found))

    def cut_back(self) -> list[str]:
        """List files that a relaunch cuts back to their size at the checkpoint."""
        return [path for component in self._components for path in component.cut_back()]

    def receipt(self, point: RestorePoint) -> list[str]:
        """List in words what is restored."""
        own = self._own is not None and self._own.random
        parts = [c for c in self._components if not (own and isinstance(c, RandomState))]
        return [words for c in parts for words in c.receipt(point.state)]

    def report_unused_rates(self, point: RestorePoint, session: Session) -> None:
        """Report each learning rate of the script that the restored one replaces."""
        if self._own is not None:
            for text in self._own.texts():
                session.note_change(text)
            return
        if self.allowed is not None:
            return  # the difference was reported, and a person has allowed it
        saved = point.state["fingerprint"].get("rates", {})  # older ones have none
        found = fingerprint.unused_rates(self._fingerprint["rates"], saved, self.models.rates())
        # keep the first rates in the fingerprint: later attempts must report the change, too
        self._fingerprint["rates"] = {**self._fingerprint["rates"], **saved}
        for text in found:
            session.note_change(text)
            session.warn(
                f"{text[:1].upper()}{text[1:]}.",
                "To change it, set it in a callback or in the loop, or start over with "
                "`rekindle retry JOB --from-scratch`.",
            )

    def _complete_fingerprint(self) -> None:
        """Describe layers that were built since: those of a GAN are by its first step."""
        if not self._is_complete:
            self._is_complete = self.models.is_complete()
            rates = self._fingerprint["rates"]
            self._fingerprint |= self.models.fingerprint()
            self._fingerprint["rates"] |= rates

    def look_for_caveats(self) -> None:
        """Add the caveats that components have found since."""
        self.caveats.add(one for c in self._components for one in c.caveats())

    def capture(
        self, at: Progress, begun_at: int, *, logs: Json | None, replaced: TrainingState
    ) -> Snapshot:
        """Copy the current state.

        Args:
            at: position of the stage.
            begun_at: the step at which it began.
            logs: logs for the manifest; None for those of the state.
            replaced: entries that replace those of the current state.
        """
        arrays: Tensors = {}
        state: TrainingState = {}
        self._complete_fingerprint()
        with self.models.listed():
            for component in self._components:
                state |= component.capture(arrays)
        if self._kind == "loop":
            state |= self.epochs.kept(state, arrays, within=bool(at.epoch_step))
        self.look_for_caveats()
        if not self._decoded:
            self._decoded = True
            self.caveats.add(decodable.caveats(state, arrays))
        state |= {
            "position": _position(at, begun_at if self._kind == "loop" else None),
            "inexact": self.caveats.texts,
            **({} if self._fork is None else {"fork": self._fork.token}),
            "fingerprint": self._fingerprint,
            "versions": _versions(),
        }
        return Snapshot(
            at.position,
            arrays,
            state | replaced,
            state["logs"] if logs is None else logs,
            self.models.judge(),
        )


def _position(at: Progress, begun_at: int | None) -> PositionState:
    return {
        "stage": at.stage,
        "epoch": at.epoch,
        "step": at.step,
        "epoch_step": at.epoch_step,
        "base": at.step - at.epoch_step if begun_at is None else begun_at,
        "end": at.ended,
    }


def _versions() -> dict[str, str]:
    return {"keras": keras.__version__, "tensorflow": str(getattr(tf, "__version__", "none"))}


class Caveats:
    """Collect caveats for receipts; report those found later as warnings.

    Args:
        warn: reports a message and a hint.
        texts: caveats of earlier attempts.
    """

    def __init__(self, warn: Callable[[str, str], None], texts: Iterable[str]) -> None:
        self._warn = warn
        self._texts = dict.fromkeys(texts)
        self._late = False

    @property
    def texts(self) -> list[str]:
        """All caveats, as text for receipts and checkpoints."""
        return list(self._texts)

    def receipt_written(self) -> None:
        """Report caveats as warnings from now on: the receipt is written."""
        self._late = True

    def add(self, caveats: Iterable[Caveat]) -> None:
        """Add caveats, each once."""
        for caveat in caveats:
            text = str(caveat)
            if text in self._texts:
                continue
            self._texts[text] = None
            if self._late:
                remedy = f"{caveat.remedy[:1].upper()}{caveat.remedy[1:]}"
                self._warn(f"Not exact after a relaunch: {caveat.what}.", f"{remedy}.")
