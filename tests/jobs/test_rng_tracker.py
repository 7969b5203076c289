"""States of random generators of data: tracked per batch, saved, restored."""

import inspect
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.data import rng_tracker
from rekindle.jobs.data.rng_tracker import RngTracker


class Owner:
    """Hold a random generator of each kind."""

    def __init__(self) -> None:
        self.one = random.Random(1)
        self.two = np.random.default_rng(2)
        self.three = np.random.RandomState(3)
        self.four = np.random.Generator(np.random.MT19937(4))
        self.five = np.random.Generator(np.random.Philox(5))
        self.rows = np.arange(9)

    def numbers(self) -> list[float]:
        return [
            self.one.random(),
            self.two.random(),
            self.three.normal(),
            self.four.random(),
            self.five.random(),
            random.gauss(0, 1),
            np.random.normal(),
        ]

    def on_epoch_begin(self) -> None:
        np.random.shuffle(self.rows)

    def on_epoch_end(self) -> None:
        self.two.shuffle(self.rows)


def followed(owner: Owner) -> RngTracker:
    made = RngTracker(owner)
    made.begin_pass(0)
    return made


def test_a_checkpoint_has_the_state_after_the_last_trained_batch() -> None:
    """Whatever was prefetched, through JSON, and for each kind of generator."""
    owner = Owner()
    before = followed(owner)
    batches = [before.draw(owner.numbers) for _ in range(6)]
    before.passed(3)
    tensors: Tensors = {}
    kept = json.loads(json.dumps(before.capture(tensors, 3)))
    again = Owner()
    after = followed(again)
    after.load(kept, tensors)
    after.load_own(kept, tensors)
    after.put(
        {kind: state for kind, state in before.behind(3).items() if kind in rng_tracker.GLOBAL}
    )
    assert batches[3:] == [after.draw(again.numbers) for _ in range(3)]
    assert len(after.moved) == 7
    assert not after.foreign


def test_a_closed_tracker_reads_nothing_and_restores_the_last_trained_batch() -> None:
    """A thread that still prefetches must not advance the generators of the script."""
    owner = Owner()
    made = followed(owner)
    batches = [made.draw(owner.numbers) for _ in range(4)]
    made.close(2)
    assert batches[3] == made.draw(owner.numbers)
    assert batches[2] == owner.numbers()


def test_foreign_draws_between_two_batches_are_detected() -> None:
    """Only for that generator; before the first batch of a pass the script may draw."""
    owner = Owner()
    made = followed(owner)
    np.random.rand()
    made.draw(np.random.rand)
    made.draw(random.random)
    assert not made.foreign
    np.random.rand()
    made.draw(owner.one.random)
    assert made.foreign == {rng_tracker.NUMPY}
    assert made.behind(3).keys() == made.moved - {rng_tracker.NUMPY}


@pytest.mark.parametrize("between", [0, 3])
def test_epoch_calls_are_repeated_with_the_same_states(between: int) -> None:
    """Also if batches draw from the same generators between them."""
    owner = Owner()
    made = followed(owner)
    for _ in range(3):
        made.epoch_calls.call("on_epoch_begin")
        for _ in range(between):
            made.draw(owner.numbers)
        made.epoch_calls.call("on_epoch_end")
    tensors: Tensors = {}
    kept = json.loads(json.dumps(made.capture(tensors, None)))
    # a state equal to that after the previous call is not saved; the third is the first `rows`
    assert len(kept["calls"]) == (7 if between else 3)
    again = Owner()
    np.random.seed(99)
    after = followed(again)
    after.load(kept, tensors)
    after.epoch_calls.repeat(kept["called"], lambda: None)
    assert owner.rows.tolist() == again.rows.tolist()


def test_a_cached_normal_number_is_part_of_the_state() -> None:
    """numpy computes two at a time; drawing the second one changes no word of the generator."""
    np.random.seed(5)
    made = RngTracker()
    made.begin_pass(0)
    for _ in range(4):
        made.draw(np.random.normal)
    assert not made.foreign
    np.random.seed(5)
    wanted = [np.random.normal() for _ in range(4)]
    for taken in range(4):
        made.put(made.behind(taken))
        assert wanted[taken] == np.random.normal()


def test_a_replaced_global_generator_is_tracked_as_well() -> None:
    """A script may replace the global generator of numpy."""
    before = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.MT19937(3))
        made = RngTracker()
        made.begin_pass(0)
        numbers = [made.draw(np.random.rand) for _ in range(3)]
        made.put(made.behind(1))
        assert numbers[1:] == [np.random.rand(), np.random.rand()]
    finally:
        np.random.set_bit_generator(before)


dice = np.random.default_rng(1)
"""Outside of the data that draws from it."""


def test_generators_outside_of_the_data_are_found_by_the_names_in_its_functions() -> None:
    around = random.Random(2)

    class Drawing:
        def __getitem__(self, index: int) -> float:
            return float(dice.normal()) + sum(around.random() for _ in range(2))

    data = Drawing()
    before = rng_tracker.outside(data)
    assert {"dice", "around"} == before.keys()
    around.random()
    assert {"around"} == rng_tracker.differing(before, rng_tracker.outside(data))
    assert {} == rng_tracker.outside(Owner())


class Counting:
    """Change numbers and an array of its own when it is read."""

    def __init__(self) -> None:
        self.served, self.mean = 0, np.zeros(3)
        self.level = 1

    def batch(self) -> list[float]:
        self.served += 1
        self.mean *= 0.5
        self.mean[self.served % 3] += self.level
        return [self.served, *self.mean]


def test_values_that_reading_changes_are_those_of_the_last_trained_batch() -> None:
    owner = Counting()
    before = RngTracker(owner)
    before.begin_pass(0)
    batches = [before.draw(owner.batch) for _ in range(6)]
    before.passed(3)
    tensors: Tensors = {}
    kept = json.loads(json.dumps(before.capture(tensors, 3)))
    again = Counting()
    mean, again.level = again.mean, 1
    after = RngTracker(again)
    after.load(kept, tensors)
    after.load_values(kept, tensors)
    after.begin_pass(3)
    assert [after.draw(again.batch) for _ in range(3)] == batches[3:]
    assert again.mean is mean
    assert after.raced == []
    again.served = 0  # the script changes it, too
    after.draw(again.batch)
    assert after.raced == [("the value of its attribute served", True)]
    assert "level" not in json.dumps(kept)


outside_dice = np.random.RandomState(3)


def test_generators_that_a_function_names_are_those_of_its_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Globals, variables around it, and those of functions that it calls; not what it makes."""
    around = random.Random(1)
    monkeypatch.setattr(rng_tracker.own_code, "is_own_function", inspect.isfunction)

    def permuted() -> Any:
        return outside_dice.permutation(3)

    def batches() -> Iterator[Any]:
        mine = np.random.default_rng(0)
        for _ in range(2):
            yield permuted(), around.random(), mine.random()

    wanted = {"around": around, "outside_dice": outside_dice}
    assert wanted == rng_tracker.held_generators(batches)
    begun = batches()
    next(begun)
    assert wanted.keys() <= rng_tracker.held_generators(begun).keys()
