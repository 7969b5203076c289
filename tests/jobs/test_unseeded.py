"""Generators that are made without a seed get the same one in each attempt."""

import subprocess
import sys
import tempfile

import pytest
from rig import environment

CODE = """
import random, sys, tempfile, uuid
from rekindle.jobs.seeding import unseeded
plain = random.Random.seed
unseeded.of_python(7)
import numpy
unseeded.of_numpy(numpy, 7)
made = [
    random.Random().random(),
    numpy.random.RandomState().normal(),
    numpy.random.default_rng().normal(),
    numpy.random.Generator(numpy.random.PCG64()).normal(),
    numpy.random.SeedSequence().entropy,
]
random.seed()
numpy.random.seed()
made += [random.random(), numpy.random.normal()]
kept = unseeded.counts()
more = [random.Random().random(), numpy.random.RandomState().normal()]
unseeded.restore(kept)
assert more == [random.Random().random(), numpy.random.RandomState().normal()]
assert len(set(map(str, made + more))) == len(made + more)
print(made)
print(next(tempfile._RandomNameSequence()), uuid.uuid4(), random.SystemRandom().random())
"""


def test_each_attempt_makes_the_same_generators() -> None:
    """The names of temporary files and the generator of the system stay random."""
    ran = [
        subprocess.run(
            [sys.executable, "-c", CODE],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        ).stdout.splitlines()
        for _ in range(2)
    ]
    assert ran[0][0] == ran[1][0]
    for one, other in zip(ran[0][1].split(), ran[1][1].split(), strict=True):
        assert one != other


def test_a_subclass_of_the_script_is_seeded_and_a_given_seed_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import random

    from rekindle.jobs.seeding import unseeded

    plain = random.Random.seed
    monkeypatch.setattr(random.Random, "seed", plain)
    monkeypatch.setattr(random, "seed", random.seed)
    wanted = random.Random(3).random()
    unseeded.of_python(7)

    class Mine(random.Random):
        def __init__(self) -> None:
            super().__init__()

    unseeded.restore({})
    first = Mine().random()
    unseeded.restore({})
    assert (first, wanted) == (Mine().random(), random.Random(3).random())
    names = tempfile._RandomNameSequence()
    assert next(names) != next(tempfile._RandomNameSequence())
