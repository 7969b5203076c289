"""Find the variables of a frame that the script reads again, and bind them."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rekindle.jobs.python_state import saved, traced
from rekindle.jobs.python_state.frame import Frame
from rekindle.jobs.python_state.keras_objects import Classifier
from rekindle.jobs.python_state.reach import Reach
from rekindle.jobs.python_state.restore import Restorer
from rekindle.jobs.python_state.stack import Stack


def probe(found: dict[str, Any], at: int, **put: Any) -> Iterator[int]:
    """Yield numbers, and note the variables that matter where the loop asks for number `at`."""
    for number in range(4):
        if number == at:
            frame = Frame(sys._getframe(1), in_loop=True)
            found.update(frame.values())
            for name, value in put.items():
                frame.set(name, value)
        yield number


def test_a_name_that_the_body_sets_before_it_reads_it_is_no_state() -> None:
    found: dict[str, Any] = {}
    best, total, unused = 9, 0, "not in the loop"
    for number in probe(found, at=2):
        value = number * 2
        best = min(best, 5 - value)
        total += value
        last = value
    assert found == {"best": 3, "total": 2, "last": 2}
    assert (best, last, unused) == (-1, 6, "not in the loop")


def test_branches_handlers_and_comprehensions_are_followed() -> None:
    found: dict[str, Any] = {}
    kept, rows, scale, tries = None, [1], 2, 0
    for number in probe(found, at=2):
        try:
            if number == 3:
                raise ValueError(kept)
            item = [row * scale for row in rows]
        except ValueError:
            tries += 1
        else:
            kept = item
    assert found == {"kept": [2], "rows": [1], "scale": 2, "tries": 0}
    assert tries == 1


def test_variables_of_a_function_and_its_closures_are_bound() -> None:
    found: dict[str, Any] = {}
    best, count = 9, 0

    def add() -> None:
        nonlocal count
        count += 1

    for _ in probe(found, at=2, best=1, count=10):
        best = min(best, 5)
        add()
    assert found == {"best": 5, "add": add}
    assert (best, count) == (1, 12)


def test_variables_of_a_module_are_bound() -> None:
    code = "best = 9\nfor n in probe(found, at=1, best=1):\n    best = min(best, 5)\n"
    space: dict[str, Any] = {"probe": probe, "found": (found := {})}
    exec(compile(code, __file__, "exec"), space)
    assert found == {"best": 5}
    assert space["best"] == 1


def test_what_locals_returned_stays_as_it_was() -> None:
    found: dict[str, Any] = {}
    total = 0
    options = locals()
    before = dict(options)
    for number in probe(found, at=2):
        total += number
    assert options == before and found == {}


class Killed(BaseException):
    """Stand for the end of a process."""


class Attempt:
    """Run a loop as a stage does: entry, restore, and a capture after number `save`.

    Args:
        kept: what an earlier attempt captured.
        save: number of the inner loop, or of the outer one, and of the epoch.
    """

    def __init__(self, kept: Any = None, save: tuple[int, int] | None = None) -> None:
        self.kept: Any = kept
        self.unsaved: list[saved.Unsaved] = []
        self._save_at = save
        self._restorer: Restorer | None = None
        self._entry: Reach | None = None
        self._epoch = 0
        self._is_ahead = kept is not None

    def outer(self, count: int) -> Iterator[int]:
        self._stack = Stack(lambda: [self])
        self._entry = self._walk()
        if self.kept is not None:
            self._restore()
        for number in range(self.kept[2] if self.kept else 0, count):
            self._epoch = number
            yield number
            if (number, None) == self._save_at:
                self._save(number + 1, 0)

    def inner(self, count: int) -> Iterator[int]:
        first = 0
        if self._is_ahead:
            self._is_ahead = False
            self._restore()
            first = self.kept[3]
        for number in range(first, count):
            yield number
            if (self._epoch, number) == self._save_at:
                self._save(self._epoch, number + 1)

    def killed(self, train: Any) -> "Attempt":
        """Train until the capture."""
        with pytest.raises(Killed):
            train(self)
        assert self.unsaved == []
        return self

    def missing(self) -> list[str]:
        return list(self._restorer.found.missing) if self._restorer is not None else ["all"]

    def _save(self, *at: int) -> None:
        arrays: dict[str, Any] = {}
        records, unsaved = saved.out(self._entry, self._walk(), arrays)
        self.unsaved = [one for one in unsaved if not self._stack.is_made_again(one.path)]
        self.kept = (json.loads(json.dumps(records)), arrays, *at)
        raise Killed

    def _restore(self) -> None:
        records, arrays = self.kept[:2]
        self._restorer = self._restorer or Restorer(self._entry, self._walk, records, arrays, {})
        self._restorer.restore()
        assert self._restorer.wrong() == []

    def _walk(self) -> Reach:
        return Reach(self._stack.roots(), _nothing, self._entry, self._stack.closed())


def _check(train: Any, *saves: Any) -> None:
    """Train undisturbed, and with a kill after each of these captures."""
    attempt = Attempt()
    for save in saves:
        attempt = Attempt(attempt.kept, save).killed(train)
    last = Attempt(attempt.kept)
    assert train(last) == train(Attempt())
    assert last.missing() == []


for function in (
    Attempt.outer,
    Attempt.inner,
    Attempt.killed,
    Attempt._save,
    Attempt._restore,
    Attempt._walk,
):
    # it stands for our own code, whose frames are none of the script's
    function.__code__ = function.__code__.replace(co_filename="<ours>")


def _nothing(value: Any) -> None:
    return None


class Meter:
    def __init__(self) -> None:
        self.seen: list[float] = []


def _flat(attempt: Attempt) -> Any:
    losses, counts, best, meter, table = [], {}, 9.0, Meter(), np.zeros(3)
    alias, previous = losses, None
    for step in attempt.outer(8):
        loss = 1.0 / (step + 1)
        losses.append(loss)
        counts[step % 2] = counts.get(step % 2, 0) + 1
        best = min(best, loss + (previous or 0))
        meter.seen.append(best)
        table[step % 3] += loss
        previous = loss
    assert alias is losses
    return losses, sorted(counts.items()), best, meter.seen, table.tolist(), previous


def test_a_loop_gets_its_variables_back() -> None:
    _check(_flat, (2, None), (3, None), (6, None))


def _one_epoch(attempt: Attempt, history: list[float]) -> float:
    total, meter = 0.0, Meter()
    rows: list[int] = []
    for number in attempt.inner(5):
        total += number
        rows.append(number)
        meter.seen.append(total)
    history += meter.seen
    return total + len(rows)


def _epochs(attempt: Attempt) -> Any:
    history: list[float] = []
    result = 0.0
    for _ in attempt.outer(3):
        result += _one_epoch(attempt, history)
    return history, result


def test_a_function_that_holds_the_inner_loop_gets_its_variables_back() -> None:
    _check(_epochs, (0, 1), (0, 3), (1, 2), (2, 0), (2, 3))


def _nested(attempt: Attempt) -> Any:
    history: list[float] = []
    best, best_epoch, total = 0.0, -1, 0.0
    for epoch in attempt.outer(4):
        total, count = total / 2, 0
        for number in attempt.inner(4):
            total += number * (epoch % 3)
            count += 1
        history.append(total / count)
        if history[-1] > best:
            best, best_epoch = history[-1], epoch
    return history, best, best_epoch, total


def test_variables_that_only_the_outer_loop_sets_come_back_within_an_epoch() -> None:
    _check(_nested, (0, 1), (2, 2), (3, 1))


LEVEL = 1.0


def test_a_value_that_a_function_was_traced_with_is_named_once_it_differs() -> None:
    global LEVEL
    scale = 1.0
    seen: list[float] = []

    @tf.function
    def step(x: Any) -> Any:
        return x * LEVEL * scale

    def found() -> list[str]:
        now = Reach({"step": step}, Classifier(list), entry)
        return [caveat.what.partition(" has")[0] for caveat in traced.caveats(entry, now)]

    entry = Reach({"step": step}, Classifier(list))
    LEVEL = 2.0
    assert found() == []  # it is not traced yet
    LEVEL = 1.0
    seen.append(float(step(tf.constant(1.0))))
    assert found() == []
    LEVEL, scale = 2.0, 3.0
    assert sorted(found()) == ["LEVEL", "step<scale>"]
    LEVEL = 1.0
