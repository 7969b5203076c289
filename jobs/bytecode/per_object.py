"""Remember what was found of objects, for as long as each round asks for them."""

from typing import Any, Generic, TypeVar

from rekindle.jobs.bytecode.identity import identity_of

T = TypeVar("T")


class PerObject(Generic[T]):
    """Hold a finding for each object, by its identity, with the object itself.

    An object that the rounds no longer ask for is let go at the second one.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[Any, T]] = {}
        self._known: dict[int, tuple[Any, T]] = {}

    def begin(self) -> None:
        """Begin a round, and forget the objects that the one before did not ask for."""
        self._last, self._known = self._known, {}

    def get(self, owner: Any) -> T | None:
        """Return what was found of an object in this round or the last one."""
        identity = identity_of(owner)
        known = self._known.get(identity) or self._last.get(identity)
        if known is None or known[0] is not owner:
            return None
        self._known[identity] = known
        return known[1]

    def put(self, owner: Any, found: T) -> T:
        """Remember a finding, and return it."""
        self._known[identity_of(owner)] = owner, found
        return found
