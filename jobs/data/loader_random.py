"""Random generators of a ``DataLoader`` of PyTorch: its own, and those of its samplers."""

from collections.abc import Iterator
from typing import Any

from rekindle.jobs.capture.codec import Tensors, decode, encode
from rekindle.jobs.capture.component import Caveat, Json

_PERSISTENT = Caveat(
    "The DataLoader keeps its workers for several epochs, and what they have drawn or counted is "
    "not restored",
    "remove persistent_workers=True, or let the dataset draw from a generator that __getitem__ "
    "makes from the index",
)


class LoaderRandom:
    """Capture and restore the generators of a loader; none of other data.

    Args:
        loader: any object.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def capture(self, arrays: Tensors, prefix: str) -> Json:
        """Return their states, as JSON and arrays."""
        return {
            name: encode(one.get_state(), arrays, f"{prefix}/{name}")
            for name, one in self._generators()
        }

    def restore(self, saved: Json, arrays: Tensors) -> None:
        """Restore what :meth:`capture` returned."""
        for name, one in self._generators():
            if name in saved:
                one.set_state(decode(saved[name], arrays))

    def caveats(self) -> list[Caveat]:
        """Name what cannot be restored."""
        return [_PERSISTENT] if getattr(self._loader, "persistent_workers", False) else []

    def _generators(self) -> Iterator[tuple[str, Any]]:
        known: set[int] = set()
        for name in ("", "sampler", "batch_sampler", "batch_sampler.sampler"):
            owner = self._loader
            for step in filter(None, name.split(".")):
                owner = getattr(owner, step, None)
            found = getattr(owner, "generator", None)
            if hasattr(found, "get_state") and id(found) not in known:
                known.add(id(found))
                yield name or "loader", found
