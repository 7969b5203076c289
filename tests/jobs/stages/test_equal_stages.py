"""Stages of the same content: moved lines, other parameters, and trainings that are skipped."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from rekindle.jobs.stages import records as stage_records
from rekindle.jobs.stages.decision import Call
from rekindle.jobs.stages.key import DataKey, Entry, StageKey, Way
from rekindle.jobs.stages.stage_table import StageTable

KEY = StageKey("fit", "dense", "adam", {}, DataKey("d"))


@dataclass
class Attempt:
    """Enter calls as one attempt does that follows others, and keep what is said."""

    journal: list[dict[str, Any]] = field(default_factory=list)
    number: int = 1
    accepted: bool = False

    def __post_init__(self) -> None:
        self.said: list[str] = []
        self.changes: list[str] = []
        found = stage_records.read(self.journal, [], self.number, accepted=self.accepted)
        self.before = set(found)
        self.table = StageTable(found, self._note, self.changes.append)

    def _note(self, entry: Any) -> None:
        self.journal.append(json.loads(json.dumps({**entry, "attempt": self.number})))
        if entry["kind"] == "warned":
            self.said.append(entry["message"])

    def enter(self, call: Call, *, ended: bool = True) -> int:
        number = self.table.enter(call)
        self.said += [what for what, _ in self.table.caveats()]
        if ended:
            self.end(number)
        return number

    def end(self, number: int) -> None:
        self._note({"kind": "stage_ended", "stage": number, "step": number + 1})

    def enter_all(self, calls: Iterable[Call]) -> list[int]:
        return [self.enter(call) for call in calls]

    def next(self, *, accepted: bool = False) -> "Attempt":
        return Attempt(self.journal, self.number + 1, accepted)


def way(*turns: str, line: int = 9, **parts: Any) -> Way:
    return Way((f"train.py:{line} <module>",), turns, known=True, **parts)


def turn(n: int) -> tuple[str, ...]:
    return (f"epoch = {n}",)


def no_turn(n: int) -> tuple[str, ...]:
    return ()


@pytest.mark.parametrize("turns", [turn, no_turn])
@pytest.mark.parametrize("weights", ["w{}", "w"])
@pytest.mark.parametrize("code", [("", ""), ("before", "after")])
@pytest.mark.parametrize("name", ["epoch", "e"])
def test_stages_of_changed_code_are_found_in_their_order(
    turns: Callable[[int], tuple[str, ...]], weights: str, code: tuple[str, str], name: str
) -> None:
    """An edit above ``for epoch in range(n): model.fit(epochs=1)`` moves the line of each fit."""

    def calls(line: int, code: str) -> list[Call]:
        return [
            Call(
                KEY,
                Entry(weights.format(n), f"r{n}"),
                way(*turns(n), line=line, code=code, repeats=True),
            )
            for n in range(10)
        ]

    first = Attempt()
    first.enter_all(calls(9, code[0])[:8])
    first.enter(calls(9, code[0])[8], ended=False)
    moved = [
        replace(
            one,
            way=replace(
                one.way, turns=tuple(text.replace("epoch", name) for text in one.way.turns)
            ),
        )
        for one in calls(11, code[1])
    ]
    second = first.next(accepted=True)
    assert list(range(10)) == second.enter_all(moved)
    assert [] == second.said
    assert second.changes[0].startswith("stage 0 was found by its order:")
    assert "the call was at train.py:9 <module> and is at train.py:11 <module>" in second.changes[0]
    assert all(text.startswith("stage ") for text in second.changes)
    # the new lines are recorded
    third = second.next()
    assert list(range(10)) == third.enter_all(moved)
    assert ([], []) == (third.changes, third.said)


def test_stages_of_unchanged_code_are_told_apart_by_their_lines_though_a_change_is_accepted() -> (
    None
):
    """Trainings from one seed: of the first there is a file, and the second had not begun."""
    first = Attempt()
    first.enter(Call(KEY, Entry("w", "r"), way(line=3, code="c")))
    second = first.next(accepted=True)
    assert 1 == second.enter(Call(KEY, Entry("w", "r"), way(line=5, code="c")))


def test_no_finished_stage_of_other_weights_is_taken_while_one_of_these_is_in_another_line() -> (
    None
):
    first = Attempt()
    first.enter_all(Call(KEY, Entry(f"w{n}"), way(code="c", repeats=True)) for n in range(4))
    second = first.next()
    calls = [Call(KEY, Entry(f"w{n}"), way(line=11, code="c", repeats=True)) for n in range(1, 4)]
    assert [4, 5, 6] == second.enter_all(calls)


def test_parameters_that_tell_trainings_apart_make_a_new_one() -> None:
    """``while queue: train(queue.pop(0))``: the relaunch skips two, and draws their weights."""
    calls = [
        Call(KEY, Entry(f"w{n}", f"r{n}"), way(given=f"name {n}", repeats=True)) for n in range(3)
    ]
    first = Attempt()
    first.enter_all(calls[:2])
    third = replace(calls[2], entry=calls[0].entry)
    assert 2 == first.next().enter(third)
    again = first.next()
    assert 1 == again.enter(replace(calls[1], entry=calls[0].entry))
    assert [] == again.said


def test_one_training_with_other_parameters_is_found_and_named() -> None:
    first = Attempt()
    first.enter(Call(KEY, Entry("w"), way(given="a")))
    second = first.next()
    assert 0 == second.enter(Call(KEY, Entry("w"), way(given="b")))
    assert "it is called with other parameters" in second.said[0]


def test_a_finished_stage_for_weights_that_a_script_has_loaded_is_named_in_a_loop() -> None:
    """``while True: fit(epochs=1)`` continues with the file of the stage that ended."""
    for repeats, count in ((True, 1), (False, 0)):
        first = Attempt()
        first.enter(Call(KEY, Entry("w0"), way(repeats=repeats)))
        second = first.next()
        assert 0 == second.enter(Call(KEY, Entry("w1"), way(repeats=repeats)))
        assert count == len(second.said)


def test_a_stage_that_the_script_has_passed_is_not_that_of_a_call_in_another_place() -> None:
    """A function that calls itself, and passes what has ended."""

    def call(n: int, weights: str) -> Call:
        return Call(KEY, Entry(weights), replace(way(repeats=True), lines=("train.py:9",) * n))

    first = Attempt()
    first.enter(call(1, "w0"))
    first.enter(call(2, "w1"), ended=False)
    second = first.next()
    assert [1, 2] == second.enter_all([call(2, "w0"), call(3, "w2")])
    assert [] == second.said


def test_a_finished_stage_for_loaded_weights_in_another_line_is_named() -> None:
    """The training may be resumed in its own line, or be another that continues the first."""
    first = Attempt()
    first.enter(Call(KEY, Entry("w0"), way(line=3)))
    second = first.next()
    assert 0 == second.enter(Call(KEY, Entry("loaded"), way(line=5)))
    assert "it begins with other weights" in second.said[0]
    third = first.next()
    assert 0 == third.enter(Call(KEY, Entry("loaded"), way(line=5), resumes_itself=True))
    assert [] == third.said
