"""Remember what was found of a type, without keeping the type alive."""

import weakref
from collections.abc import Callable
from typing import Any

from rekindle.jobs.bytecode.identity import identity_of


class PerType:
    """Ask once for each type, by its identity: a metaclass may compare types in its own way.

    Args:
        ask: tells something that holds for good, and holds no reference to the type: a class that
            a function defines may hold data.
    """

    def __init__(self, ask: Callable[[Any], bool]) -> None:
        self._ask = ask
        self._known: dict[int, tuple[weakref.ref[type], bool]] = {}

    def __call__(self, kind: type) -> bool:
        """Return the answer for a type."""
        known = self._known.get(identity_of(kind))
        if known is not None and known[0]() is kind:
            return known[1]
        found = self._ask(kind)
        self._known[identity_of(kind)] = weakref.ref(kind), found
        return found
