"""One part of the state of a training: what every component of a stage can do."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from rekindle.jobs.capture.codec import Tensors

Json = dict[str, Any]


class Caveat(NamedTuple):
    """Name something that a relaunch cannot restore exactly, and what to do about it.

    Attributes:
        what: a sentence without its full stop.
        remedy: an instruction without its full stop.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        """Give the text that receipts and checkpoints hold."""
        return f"{self.what}; {self.remedy}."


class Component(Protocol):
    """Capture and restore one part of a training state.

    Each component owns some keys of the JSON of a checkpoint
    and the arrays under its own prefixes. ``saved`` is always all of that JSON.
    """

    def capture(self, arrays: Tensors) -> Json:
        """Copy the present state: arrays into ``arrays``, the rest as JSON by its keys."""
        ...

    def restore(self, saved: Json, arrays: Tensors, *, lenient: bool) -> None:
        """Put a state back into the objects that are there.

        Args:
            lenient: pass over what does not fit (a change that was allowed).
        """
        ...

    def fingerprint(self) -> Json:
        """Describe what must be the same in every attempt, as JSON."""
        ...

    def difference(self, saved: Json) -> str | None:
        """Name the first mismatch with what was saved, beyond the fingerprint."""
        ...

    def caveats(self) -> Iterable[Caveat]:
        """List what cannot be restored exactly, as far as it is known now."""
        ...

    def receipt(self, saved: Json) -> Iterable[str]:
        """List what of a saved state is restored, in words."""
        ...
