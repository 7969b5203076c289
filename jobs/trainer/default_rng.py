"""Generators of numpy that a script makes without a seed.

Imports no numpy: it is called while numpy is being imported for the first time, perhaps by a
module of ours.
"""

import functools
import itertools
from typing import Any


def make_repeatable(numpy: Any, job_seed: int) -> None:
    """Makes ``numpy.random.default_rng()`` without a seed the same in every attempt.

    The global generators are seeded; one that a script makes for itself without a seed
    would be the only thing left that differs from attempt to attempt.
    """
    plain = numpy.random.default_rng
    made = itertools.count()

    @functools.wraps(plain)
    def default_rng(seed: Any = None) -> Any:
        if seed is None:
            seed = numpy.random.SeedSequence([job_seed % 2**64, 0x7E4D1E, next(made)])
        return plain(seed)

    numpy.random.default_rng = default_rng
