"""The state of a stage: its components, and the checkpoint that they are restored from."""

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


class Seekable(Component, Protocol):
    """The component that is the data of a stage."""

    def seek(self, saved: Json, arrays: Tensors, *, lenient: bool) -> None:
        """Go to the batch of the checkpoint; before everything else is restored."""
        ...


class StageState:
    """Check, restore and capture all components of one stage.

    Args:
        point: what the stage resumes from.
        models, data: the components that every stage has.
        others: in the order in which they are restored, after models; data comes last.
        kind: fit or loop.

    Attributes:
        allowed: what of the script is another than before and was allowed to be, in words.

    Raises:
        StateMismatch: the script is another than that of the checkpoint.
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
        self.data = data
        self.components = [models, *others, data]
        self.caveats = Caveats(session.warn, point.state.get("inexact", []))
        self.allowed: str | None = None
        self._point = point
        self._kind = kind
        self._fingerprint = fingerprint.merged([c.fingerprint() for c in self.components])
        found = self._difference() if point.checkpoint is not None else None
        if found is not None and not session.job.allow_change:
            raise fingerprint.refuse(found)
        self.allowed = found

    def _difference(self) -> str | None:
        saved = self._point.state
        was = "loop" if "loop" in saved else "fit"
        if was != self._kind:
            return f"this stage was a {was} and is a {self._kind}"
        found = fingerprint.compare(self._fingerprint, saved["fingerprint"])
        for component in self.components:
            found = found or component.difference(saved)
        return found

    def drop_saved(self) -> None:
        """Drop the content of the checkpoint: a second copy of model and optimizer."""
        self._point = self._point.without_content()

    def seek(self) -> None:
        """Go to the batch of the checkpoint."""
        self.data.seek(self._point.state, self._point.tensors, lenient=self.allowed is not None)

    def restore(self) -> None:
        """Put everything but the data back to the checkpoint."""
        for component in self.components:
            component.restore(
                self._point.state, self._point.tensors, lenient=self.allowed is not None
            )
        self.look_for_caveats()

    def receipt(self) -> list[str]:
        """List what is restored, in words."""
        return [words for c in self.components for words in c.receipt(self._point.state)]

    def unused_rates(self) -> list[str]:
        """Name each learning rate of the script that is not used, since the restored one is."""
        if self.allowed is not None:
            return []  # a person was told, and has allowed it
        saved = self._point.state["fingerprint"].get("rates", {})  # older ones have none
        found = fingerprint.unused_rates(self._fingerprint["rates"], saved, self.models.rates())
        # later attempts are told of the same change, too
        self._fingerprint["rates"] = {**self._fingerprint["rates"], **saved}
        return found

    def look_for_caveats(self) -> None:
        """Take note of what components have found out since."""
        self.caveats.add(one for c in self.components for one in c.caveats())

    def capture(
        self, at: Progress, begun_at: int, *, logs: Json | None, replaced: Json
    ) -> Snapshot:
        """Copy everything, as of now.

        Args:
            at: where the stage is.
            begun_at: the step at which it began.
            logs: to be written beside the state; None for those of the state.
            replaced: entries of the state to take in place of the present ones.
        """
        arrays: Tensors = {}
        state: Json = {}
        for component in self.components:
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
    """Keep what cannot be restored exactly, for receipts; report late ones to people.

    Args:
        warn: tells a person, with what to do.
        texts: those of earlier attempts.
    """

    def __init__(self, warn: Callable[[str, str], None], texts: Iterable[str]) -> None:
        self._warn = warn
        self._texts = dict.fromkeys(texts)
        self._late = False

    @property
    def texts(self) -> list[str]:
        """All of them, as receipts and checkpoints hold them."""
        return list(self._texts)

    def receipt_written(self) -> None:
        """Tell people of those that come from now on: the receipt is out."""
        self._late = True

    def add(self, caveats: Iterable[Caveat]) -> None:
        """Keep each once."""
        for caveat in caveats:
            text = str(caveat)
            if text in self._texts:
                continue
            self._texts[text] = None
            if self._late:
                remedy = f"{caveat.remedy[:1].upper()}{caveat.remedy[1:]}"
                self._warn(f"Not exact after a relaunch: {caveat.what}.", f"{remedy}.")
