"""Take and set the states of the random generators that an import may draw from."""

import random
import sys
from dataclasses import dataclass
from typing import Any

from rekindle.jobs.seeding import unseeded


@dataclass(frozen=True, slots=True)
class Randomness:
    """Hold the states of ``random`` and ``numpy.random``, and the count of seeds given."""

    python: tuple[Any, ...]
    numpy: tuple[Any, ...] | None
    seeds: dict[str, int]

    @classmethod
    def take(cls) -> "Randomness":
        """Take the states as they are now; None for a numpy that is not imported."""
        numpy: Any = sys.modules.get("numpy")
        state = None
        if numpy is not None:
            name, words, *rest = numpy.random.get_state()
            state = (name, words.tobytes(), *rest)
        return cls(random.getstate(), state, unseeded.counts())

    def put(self) -> None:
        """Set the states."""
        random.setstate(self.python)
        unseeded.restore(self.seeds)
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None and self.numpy is not None:
            name, words, *rest = self.numpy
            numpy.random.set_state((name, numpy.frombuffer(words, "uint32"), *rest))
