"""Component: the interface of one part of a training state."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from rekindle.jobs.capture.codec import Tensors
from rekindle.state.run.training_state import Fingerprint, TrainingState

Json = dict[str, Any]


class Caveat(NamedTuple):
    """Name something that a relaunch cannot restore exactly, and the remedy.

    Attributes:
        what: a sentence without its full stop.
        remedy: an instruction without its full stop.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        """Return the text for receipts and checkpoints."""
        return f"{self.what}; {self.remedy}."


class Component(Protocol):
    """Capture and restore one part of a training state.

    Each component owns some keys of the JSON of a checkpoint, and the arrays under its own
    prefixes. ``saved`` is always the whole JSON.
    """

    def capture(self, arrays: Tensors) -> TrainingState:
        """Copy the current state: arrays into ``arrays``, the rest as JSON."""
        ...

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Restore a state into the existing objects.

        Args:
            lenient: skip what does not fit (a change that was allowed).
        """
        ...

    def fingerprint(self) -> Fingerprint:
        """Describe, as JSON, what must be the same in every attempt."""
        ...

    def difference(self, saved: TrainingState) -> str | None:
        """Name the first mismatch with the saved state, beyond the fingerprint."""
        ...

    def caveats(self) -> Iterable[Caveat]:
        """List what cannot be restored exactly, as far as known now."""
        ...

    def receipt(self, saved: TrainingState) -> Iterable[str]:
        """List in words what is restored from a saved state."""
        ...

    def capture_again(self, arrays: Tensors) -> TrainingState:
        """Capture what must be equal right after a restore."""
        ...

    def unchecked(self, saved: TrainingState) -> Iterable[str]:
        """List how keys of arrays begin that need not be equal right after a restore."""
        ...

    def cut_back(self) -> Iterable[str]:
        """List files that a relaunch cuts back to their size at the checkpoint."""
        ...


class ComponentBase:
    """Implement the parts of a component that have nothing to do; others override them."""

    def capture(self, arrays: Tensors) -> TrainingState:
        """Capture nothing."""
        return {}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Restore nothing."""

    def fingerprint(self) -> Fingerprint:
        """Return an empty fingerprint."""
        return {}

    def difference(self, saved: TrainingState) -> str | None:
        """Return None: nothing beyond the fingerprint is compared."""
        return None

    def caveats(self) -> Iterable[Caveat]:
        """Return no caveat."""
        return []

    def receipt(self, saved: TrainingState) -> Iterable[str]:
        """Return no words."""
        return []

    def capture_again(self, arrays: Tensors) -> TrainingState:
        """Capture everything."""
        return self.capture(arrays)

    def unchecked(self, saved: TrainingState) -> Iterable[str]:
        """Return no key."""
        return []

    def cut_back(self) -> Iterable[str]:
        """Return no file."""
        return []
