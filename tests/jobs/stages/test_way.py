"""The way of calls to a stage: the turns of the loops around it."""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.stages import way
from rekindle.jobs.stages.key import Way

SCRIPT = """
def train(size, secret="hunter-2"):
    ways.append(here())

for fold in range(2):
    train(fold)
for rows in folds:
    train(1)
count = 0
while count < 2:
    count += 1
    train(2)
made = [train(3) for letter in "ab"]
for thing in things:
    train(4)
train(5), train(5)
while len(ways) < 12:
    train(6)
def again(n):
    train(n)
    if n > 7:
        again(n - 1)
again(8)
queue = ["x", "y", object()]
while queue:
    item = queue.pop()
    train(9)
"""


@pytest.fixture
def ways(tmp_path: Path) -> list[Way]:
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    found: list[Way] = []
    names: dict[str, Any] = {
        "here": way.here,
        "ways": found,
        "folds": [np.arange(3), np.arange(3) + 1],
        "things": [object()],
        "__name__": "__main__",
    }
    exec(compile(SCRIPT, str(file), "exec"), names)
    return found


def test_turns_of_each_kind_of_loop_are_told_apart(ways: list[Way]) -> None:
    for first, second in ((0, 1), (2, 3), (4, 5), (6, 7), (15, 16)):
        one, other = _inner(ways[first]), _inner(ways[second])
        assert one != other, one
        assert 1 == len(one)
    assert ("fold = 0",) == _inner(ways[0])


def test_a_loop_over_objects_tells_nothing(ways: list[Way]) -> None:
    assert not ways[8].known
    assert () == _inner(ways[9])


@dataclass
class Settings:
    units: int
    rate: float = 0.1


def _small() -> None: ...


def _large() -> None: ...


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_small, _large),
        (dict, list),
        (Settings(4), Settings(8)),
        (SimpleNamespace(units=4), SimpleNamespace(units=8)),
        ((Settings(4), "a"), (Settings(4), "b")),
    ],
)
def test_plain_objects_of_a_loop_are_told_apart(one: Any, other: Any) -> None:
    def turns() -> list[Way]:
        found = []
        for thing in (one, other):
            assert thing
            found.append(way.here())
        return found

    first, second = turns()
    assert _inner(first) != _inner(second)
    assert [_inner(first), _inner(second)] == [_inner(again) for again in turns()]
    assert "0x" not in repr(_inner(first))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code has no columns before")
def test_calls_in_one_line_are_told_apart(ways: list[Way]) -> None:
    assert ways[9].lines == ways[10].lines
    assert not ways[9].is_alike(ways[10])
    assert ways[0].is_alike(replace(ways[0], columns=()))


def test_a_place_that_a_script_passes_several_times_in_one_turn_is_known(ways: list[Way]) -> None:
    """In ``while True``, with a queue of objects, or in a function that calls itself."""
    assert [False] * 11 + [True, False, True, True, False, False] == [one.repeats for one in ways]


def test_the_way_tells_whether_the_code_is_the_same(ways: list[Way], tmp_path: Path) -> None:
    def made(name: str, script: str) -> Way:
        (tmp_path / name).mkdir()
        file = tmp_path / name / "train.py"
        file.write_text(script)
        found: list[Way] = []
        exec(compile(script, str(file), "exec"), {"ways": found, "here": way.here})
        return found[0]

    one, same, other = (
        made(name, f"{comment}ways.append(here())")
        for name, comment in (("a", ""), ("b", ""), ("c", "#\n"))
    )
    assert one.code == same.code != other.code
    assert one == Way.parse(json.loads(json.dumps(asdict(one))))


def test_parameters_are_kept_as_a_digest_alone(ways: list[Way]) -> None:
    assert ways[0].given != ways[1].given
    assert "hunter" not in repr(ways)


def _inner(one: Way) -> tuple[str, ...]:
    """Leave out the loops of the test runner."""
    names = ("fold", "rows", "count", "letter", "thing", "item")
    return tuple(turn for turn in one.turns if turn.split(" = ")[0] in names)
