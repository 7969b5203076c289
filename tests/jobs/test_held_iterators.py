"""Iterators that a callback or a model holds: read, begun again, and taken from as often."""

import gc
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rekindle.jobs.capture.codec import Unsupported
from rekindle.jobs.data.pipeline import held, shuffles, watching
from rekindle.jobs.ends.uses import VariableUses
from rekindle.jobs.object_kinds.iterators import PythonIterator
from rekindle.jobs.object_kinds.values import Unresolvable
from rekindle.jobs.proof import round_trip
from rekindle.jobs.proof.round_trip import Comparison


def windows() -> Iterator[int]:
    while True:
        yield from range(0, 24, 4)


def noise(seed: int) -> Iterator[float]:
    own = np.random.default_rng(seed)
    while True:
        yield own.normal()


def shuffled(seed: int) -> Iterator[int]:
    own = np.random.default_rng(seed)
    while True:
        yield from own.permutation(5).tolist()


def of_a_file() -> Iterator[str]:
    with open(__file__) as file:
        yield from file


MADE: dict[str, Callable[[], Iterator[Any]]] = {
    "generator": windows,
    "generator with numbers of its own": lambda: noise(3),
    "generator that shuffles": lambda: shuffled(4),
    "expression": lambda: (2 * number for number in range(50)),
    "list": lambda: iter(list(range(50))),
    "range": lambda: iter(range(50)),
    "dict": lambda: iter(dict.fromkeys(range(50))),
    "cycle": lambda: itertools.cycle([1, 2, 3, 4]),
    "cycle of a generator": lambda: itertools.cycle(number for number in range(9)),
    "count": lambda: itertools.count(3),
    "chain": lambda: itertools.chain([1, 2], windows()),
    "islice": lambda: itertools.islice(windows(), 40),
    "enumerate": lambda: enumerate(windows()),
    "zip": lambda: zip(windows(), noise(5), strict=False),
    "map": lambda: map(abs, noise(6)),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("taken", [0, 1, 7])
def test_an_iterator_of_python_goes_on_where_it_was(name: str, taken: int) -> None:
    kind = PythonIterator(lambda: None)
    before, after = MADE[name](), MADE[name]()
    begun = kind.digest(before)
    assert kind.digest(after) == begun
    for _ in range(taken):
        next(before)
    assert (kind.digest(before) == begun) == (taken == 0)
    kind.into(after, kind.out(before, {}, ""), {})
    assert [next(after) for _ in range(4)] == [next(before) for _ in range(4)]


def test_an_iterator_over_something_unknown_is_noticed_and_not_restored() -> None:
    kind, lines = PythonIterator(lambda: None), of_a_file()
    begun = kind.digest(lines)
    next(lines)
    assert kind.digest(lines) != begun
    with pytest.raises(Unsupported):
        kind.out(lines, {}, "")


def test_an_iterator_that_never_comes_to_the_state_is_left_and_named() -> None:
    kind, other = PythonIterator(lambda: None), noise(3)
    next(other)
    numbers = np.random.get_state()[1].copy()
    with pytest.raises(Unresolvable):
        kind.into(iter([1, 2]), kind.out(other, {}, ""), {})
    assert np.array_equal(numbers, np.random.get_state()[1])


def rows() -> tf.data.Dataset:
    watching.watch()
    options = tf.data.Options()
    # a thread that TensorFlow adds, and that is late on a busy machine, would draw from a shuffle
    # while its position is read
    options.experimental_optimization.inject_prefetch = False
    return tf.data.Dataset.range(10).with_options(options)


PIPELINES: dict[str, Callable[[], tf.data.Dataset]] = {
    "plain": lambda: rows().repeat(),
    "shuffled in each repetition": lambda: rows().shuffle(10).repeat(),
    "read ahead": lambda: rows().shuffle(10).repeat().prefetch(2),
    "cached behind a shuffle": lambda: rows().shuffle(10).cache().repeat(),
    "random in a function": lambda: (
        rows().map(lambda one: tf.random.uniform((), seed=3) + tf.cast(one, tf.float32)).repeat()
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_an_iterator_over_a_dataset_goes_on_where_it_was(name: str, in_graph: bool) -> None:
    data = PIPELINES[name]()
    before = iter(data)

    def take(iterator: Any) -> Any:
        return next(iterator)

    taking = tf.function(lambda: take(before)) if in_graph else lambda: take(before)
    for _ in range(13):
        taking()
    known = held.known(before)
    assert known is not None and known.taken == 13
    arrays: dict[str, Any] = {}
    kept, positions = known.capture(arrays, "one"), shuffles.positions(shuffles.live())
    wanted = [float(taking()) for _ in range(12)]
    after = iter(data)  # a shuffle has drawn for it meanwhile
    again = held.known(after)
    assert again is not None and again.digest != known.digest
    shuffles.seek(positions)  # as a relaunch does before
    again.restore(after, kept, arrays, "one", lambda: None)
    assert [float(next(after)) for _ in range(12)] == wanted
    assert again.taken == 25


def test_an_iterator_is_known_also_where_its_begin_is_the_first_use_after_a_training() -> None:
    """Uses of variables between two trainings are looked for in the same method."""
    data, uses = rows().repeat(), VariableUses()
    noticed: list[bool] = []
    assert uses.watch(lambda: noticed.append(True))
    try:
        iterator = iter(data)
    finally:
        uses.stop()
    assert [True] == noticed
    next(iterator)
    known = held.known(iterator)
    assert known is not None and 1 == known.taken


@pytest.fixture
def nothing_held() -> Iterator[None]:
    gc.collect()
    held.forget_ended()
    yield
    held.beside(None)
    gc.collect()
    held.forget_ended()


def test_a_pass_beside_an_iterator_that_reads_ahead_is_named(nothing_held: None) -> None:
    """The thread of the other draws the next order before or after it, at another time each."""
    data = rows().shuffle(10).repeat()
    reading = iter(data)
    next(reading)
    assert not held.shares(set())
    list(data.take(4))  # ends before anybody looks
    assert held.shares(set())
    del reading
    gc.collect()
    held.forget_ended()
    assert not held.shares(set())


def test_passes_one_after_the_other_are_not_named(nothing_held: None) -> None:
    """As in tutorials: a look at a batch, and another one, before the training begins."""
    data = rows().shuffle(10).repeat()
    next(iter(data))
    next(iter(data))
    list(data.take(3))
    assert not held.shares(set())


def test_a_pass_beside_training_data_that_is_read_ahead_is_named(nothing_held: None) -> None:
    before = set(shuffles.live())
    data = rows().shuffle(10).repeat()
    (name,) = set(shuffles.live()) - before
    reads = False
    held.beside(lambda: {name} if reads else set())
    list(data.take(2))
    assert not held.shares({name})
    reads = True
    list(data.take(2))
    assert held.shares({name})


def test_a_shuffle_below_a_cache_is_drawn_from_only_once(nothing_held: None) -> None:
    data = rows().shuffle(10)
    mixed = data.cache().shuffle(5).repeat()
    draws = shuffles.Draws(mixed)
    assert 2 == len(draws.names)
    assert shuffles.Draws(data).names == draws.cached
    assert set() == shuffles.Draws(data.concatenate(data.cache())).cached


def test_a_shuffle_that_was_deleted_since_is_no_gap() -> None:
    """A finished stage leaves its datasets to the garbage collector; one of the future is a gap."""

    def gaps(saved: dict[str, int], again: dict[str, int]) -> int:
        states = ({"hidden": {"shuffles": one}} for one in (saved, again))
        return len(round_trip.gaps(*states, Comparison({}), unchecked=()))

    before = set(shuffles.live())
    data = rows().shuffle(10, seed=77)
    (name,) = set(shuffles.live()) - before
    assert gaps({name: 4}, {name: 6}) == gaps({name: 4}, {}) == 1
    assert gaps({name: 4}, {name: 4, "of the relaunch": 2}) == 0
    del data
    gc.collect()
    assert gaps({name: 4}, {}) == 0
    assert gaps({f"{name.rpartition(' ')[0]} 7": 4}, {}) == 1
