"""Seed the generators of numpy that a script makes without a seed.

This module does not import numpy: it is called during numpy's first import, perhaps by a module
of rekindle.
"""

import functools
import itertools
from typing import Any


def make_repeatable(numpy: Any, job_seed: int) -> None:
    """Make ``numpy.random.default_rng()`` without a seed the same in every attempt.

    The global generators are seeded; only a generator that a script makes without a seed would
    still differ between attempts.
    """
    plain = numpy.random.default_rng
    made = itertools.count()

    @functools.wraps(plain)
    def default_rng(seed: Any = None) -> Any:
        if seed is None:
            seed = numpy.random.SeedSequence([job_seed % 2**64, 0x7E4D1E, next(made)])
        return plain(seed)

    numpy.random.default_rng = default_rng
