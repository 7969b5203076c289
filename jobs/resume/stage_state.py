"""State of a stage: its components, and the checkpoint they are restored from."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from rekindle.jobs.attempt.checkpoint_store import RestorePoint, Snapshot
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import fingerprint
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Component, Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.state.run.training_state import TrainingState


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
        self._kind = kind
        self._fingerprint = fingerprint.merged([c.fingerprint() for c in self._components])
        found = self._difference(point.state) if point.checkpoint is not None else None
        if found is not None and not session.job.allow_change:
            raise fingerprint.refuse(found)
        self.allowed = found

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

    def restore(self, point: RestorePoint) -> None:
        """Restore everything but the data from the checkpoint."""
        for component in self._components:
            component.restore(point.state, point.tensors, lenient=self.allowed is not None)
        self.look_for_caveats()

    def receipt(self, point: RestorePoint) -> list[str]:
        """List in words what is restored."""
        return [words for c in self._components for words in c.receipt(point.state)]

    def unused_rates(self, point: RestorePoint) -> list[str]:
        """Name each learning rate of the script that the restored one replaces."""
        if self.allowed is not None:
            return []  # the difference was reported, and a person has allowed it
        saved = point.state["fingerprint"].get("rates", {})  # older ones have none
        found = fingerprint.unused_rates(self._fingerprint["rates"], saved, self.models.rates())
        # keep the first rates in the fingerprint: later attempts must report the change, too
        self._fingerprint["rates"] = {**self._fingerprint["rates"], **saved}
        return found

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
        for component in self._components:
            state |= component.capture(arrays)
        self.look_for_caveats()
        state |= {
            "position": {
                "stage": at.stage,
                "epoch": at.epoch,
                "step": at.step,
                "epoch_step": at.epoch_step,
                "base": begun_at if self._kind == "loop" else at.step - at.epoch_step,
                "end": at.ended,
            },
            "inexact": self.caveats.texts,
            "fingerprint": self._fingerprint,
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        }
        return Snapshot(
            at.position,
            arrays,
            state | replaced,
            state["logs"] if logs is None else logs,
            finite=self.models.is_finite(arrays),
        )


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
