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


FORKED = """
import multiprocessing, os
from rekindle.jobs.seeding import unseeded
unseeded.of_python(7)
import numpy
unseeded.of_numpy(numpy, 7)

def draw(_):
    numpy.random.seed()
    return numpy.random.normal(), numpy.random.default_rng().normal()

for _ in range(2):
    pool = [multiprocessing.get_context("fork").Pool(1) for _ in range(2)]
    print([one.map(draw, [0])[0] for one in pool])
    for one in pool:
        one.terminate()
read, write = os.pipe()
if not os.fork():
    os.write(write, str(draw(0)).encode())
    os._exit(0)
print(os.read(read, 1000).decode())
"""


def test_worker_processes_differ_from_each_other_and_not_between_attempts() -> None:
    """`numpy.random.seed()` in each worker is how augmentation is made to differ."""
    ran = [
        subprocess.run(
            [sys.executable, "-c", FORKED],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        ).stdout.splitlines()
        for _ in range(2)
    ]
    drawn = [number for line in ran[0][:2] for pair in eval(line) for number in pair]
    assert len(set(drawn)) == len(drawn) == 8
    assert ran[0][:2] == ran[1][:2]
    assert ran[0][2] != ran[1][2]
