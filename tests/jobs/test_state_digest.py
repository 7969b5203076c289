"""Digests of variables see every bit and every place, and take a bounded part of the time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.evidence.earlier import EarlierProofs
from rekindle.jobs.evidence.proof import Proof, make_proof
from rekindle.jobs.evidence.state_digest import (
    AHEAD_S,
    SHARE,
    DigestPlan,
    Parts,
    StateDigests,
    digest,
    estimate,
    folded,
    groups_of,
    no_parts,
)
from rekindle.jobs.job import Job
from rekindle.state.paths import Run
from rekindle.state.run import journal, proof

TYPES = ["float32", "float16", "float64", "int8", "int32", "bool", "complex128", "uint16"]


def array_of(kind: Any, size: int) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(3).normal(size=size) * 50).astype(kind)


def in_place(array: np.ndarray[Any, Any]) -> object:
    return digest(((tf.Variable(array),), (), (), ()))


def reduced(array: np.ndarray[Any, Any]) -> object:
    return folded(tf.constant(array))


@pytest.mark.parametrize("of", [in_place, reduced])
@pytest.mark.parametrize("kind", [*TYPES, ml_dtypes.bfloat16])
@pytest.mark.parametrize("size", [7, 2049])
def test_every_bit_of_every_type_counts(
    size: int, kind: Any, of: Callable[[np.ndarray[Any, Any]], object]
) -> None:
    array = array_of(kind, size)
    first = of(array)
    assert of(array.copy()) == first
    for place in {0, size // 2, size - 1}:
        other = array.copy()
        if kind == "bool":
            other[place] = not other[place]
        else:
            other.view(np.uint8).reshape(size, -1)[place, 0] ^= 1
        assert of(other) != first, place


@pytest.mark.parametrize("of", [in_place, reduced])
@pytest.mark.parametrize(("one", "two"), [(0, 2), (5, 2 * 2048 + 5), (3, 9000)])
def test_exchanged_values_are_seen(
    one: int, two: int, of: Callable[[np.ndarray[Any, Any]], object]
) -> None:
    """Two of one row, two of one column, and two of neither, of the table that is summed."""
    array = array_of("float32", 10_000)
    other = array.copy()
    other[[one, two]] = other[[two, one]]
    assert of(array) != of(other)


def test_nothing_and_scalars_have_a_digest() -> None:
    assert digest(no_parts()) is None
    assert digest(((), (tf.Variable(1.0), tf.Variable(tf.zeros((0, 3)))), (), ())) is not None
    assert digest(((tf.Variable(["a"]),), (), (), ())) != digest(
        ((tf.Variable(["b"]),), (), (), ())
    )


def test_other_variables_are_not_comparable() -> None:
    """Or a layer that was added by permission would be taken for a wrong restore."""
    one, two = tf.Variable([1.0, 2.0]), tf.Variable([1.0])
    found = {digest((group, (), (), ())).kind for group in ([one], [two], [two, two], [one, two])}
    assert len(found) == 4


def test_seeds_of_layers_are_told_from_their_weights() -> None:
    weight, seed, slot, label = (tf.Variable(float(n)) for n in range(4))
    groups = [("model", [weight, seed]), ("optimizer.second", [slot]), ("generator", [label])]
    assert groups_of(groups, [seed]) == ([weight, label], [slot], [], [seed])


def spend(plan: DigestPlan, *, epochs: int, saves: int, cost: float = 0.002) -> list[int]:
    """Train 100,000 steps of 5 ms; return the steps that were digested."""
    now, steps = 100.0, []
    for step in range(100_000):
        now += 0.005
        if step % (100_000 // saves) == 0:
            plan.want()
        if plan.due(step // (100_000 // epochs), now):
            now += cost
            plan.taken(cost)
            steps.append(step)
    return steps


def share(steps: list[int], cost: float = 0.002) -> float:
    return cost * len(steps) / (100_000 * 0.005)


def planned(each: float) -> DigestPlan:
    plan = DigestPlan(100.0)
    assert not plan.priced
    plan.price(each, 0.0)
    return plan


def test_digests_take_their_share_of_the_time_those_after_saves_first() -> None:
    steps = spend(planned(0.002), epochs=10, saves=5)
    assert {0, 20_000, 40_000, 60_000, 80_000} <= set(steps)
    assert {step for step in steps if step % 10_000 == 0} == set(range(0, 100_000, 10_000))
    assert 0.9 * SHARE < share(steps) <= SHARE + AHEAD_S / 500


def test_saves_in_quick_succession_stay_within_the_share() -> None:
    assert share(spend(planned(0.002), epochs=10, saves=50_000)) <= SHARE + AHEAD_S / 500


def test_digests_that_are_too_dear_for_a_training_are_not_taken() -> None:
    """One that took 0.1 s was 1.5 % of a training of some seconds."""
    plan = planned(0.1)
    plan.want()
    assert not plan.due(0, 100.1)
    assert not plan.due(0, 190.0)
    assert plan.due(0, 200.0)


def test_nothing_is_digested_before_the_first_save() -> None:
    """The dear first digest would use up the time of those that a relaunch repeats."""
    plan = planned(0.001)
    assert not plan.due(0, 200.0)
    assert not plan.due(1, 300.0)
    plan.want()
    assert plan.due(1, 100.0)


def test_one_slow_digest_delays_the_next_and_no_others() -> None:
    plan = planned(0.001)
    plan.want()
    plan.taken(0.5)  # the first one loads what it needs
    plan.want()
    assert plan.due(0, 100.1)
    plan.taken(0.4)  # the process was stopped for that time
    assert not plan.due(0, 490.0)
    steps = spend(plan, epochs=1, saves=1)
    assert 0 < len(steps) * 0.002 < 500 * SHARE


def test_the_first_digest_is_priced_by_size() -> None:
    little, much = tf.Variable([1.0]), tf.Variable(tf.zeros((1000, 1000)))
    assert estimate(no_parts()) == 0
    assert 0 < 50 * estimate(((little,), (), (), ())) < estimate(((little,), (much,), (), ()))
    odd = (tf.Variable(["a"]), tf.Variable([1.0], shape=tf.TensorShape(None)))
    assert estimate((odd, (), (), ())) > 0


# in a proof


class Training:
    """A proof over variables that a test may change."""

    def __init__(self, root: Path, attempt: int) -> None:
        self.variables = {name: tf.Variable(float(len(name))) for name in ("model", "optimizer")}
        self.run = Run(root)
        job = Job(name="proof", workdir="/", id="proof-1", script="train.py")
        log = AttemptLog(self.run, attempt, [])
        self.proof: Proof = make_proof(
            self.run, job, attempt, 0, EarlierProofs(), log, [], self.parts
        )

    def parts(self) -> Parts:
        return (self.variables["model"],), (self.variables["optimizer"],), (), ()

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            for one in self.variables.values():
                one.assign_add(step)
            self.proof.step(step, 0, {"loss": 1 / step})

    def proved(self) -> dict[str, Any]:
        return [e for e in journal.replay(self.run.journal).entries if e["kind"] == "proved"][-1]


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A training saved after step 4 and killed after step 9."""
    first = Training(tmp_path, 1)
    first.proof.begin(0)
    first.steps(1, 4)
    first.proof.taken()
    first.proof.saved(4)
    first.steps(5, 9)
    return tmp_path


def resumed(root: Path) -> Training:
    second = Training(root, 2)
    for one in second.variables.values():
        one.assign_add(1 + 2 + 3 + 4)
    second.proof.resume(4, 0, 4, "s4", 5, changed=None, caveats=tuple)
    return second


def test_an_equal_state_is_proved(killed: Path) -> None:
    second = resumed(killed)
    second.steps(5, 9)
    assert (second.proved()["result"], second.proved()["digests"] >= 1) == ("identical", True)


def test_an_interruption_before_the_first_digest_costs_none(tmp_path: Path) -> None:
    """On a busy host, where another process runs first."""
    variable = tf.Variable([1.0])

    def interrupted() -> Parts:
        time.sleep(10 * AHEAD_S)
        return (variable,), (), (), ()

    states = StateDigests(interrupted)
    states.want()
    assert states.due(0)


@pytest.mark.parametrize("group", ["model", "optimizer"])
def test_a_wrong_variable_is_found_at_the_first_step_whatever_the_loss_says(
    group: str, killed: Path
) -> None:
    second = resumed(killed)
    second.variables[group].assign_add(1e-5)
    second.steps(5, 9)
    found = second.proved()
    assert (found["differs"]["step"], found["differs"]["group"]) == (5, group)
    assert f"step 5 differs ({group}): its loss 0.2 is equal" in proof.words(found)


def test_variables_that_cannot_be_read_end_no_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Training(tmp_path, 1)
    first.variables = {}
    first.proof.begin(0)
    first.steps(1, 4)
    assert "variables are not compared step by step: KeyError" in "".join(capfd.readouterr())
