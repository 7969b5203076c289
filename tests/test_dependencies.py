"""What a job waits for by `after`, and what becomes of it when that ends otherwise."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon.queueing import dependencies
from rekindle.daemon.queueing.dependencies import Need
from rekindle.state.lifecycle import JobState

DONE, FAILED, HELD, RUNNING = JobState.DONE, JobState.FAILED, JobState.HELD, JobState.RUNNING


@pytest.mark.parametrize(("needs", "reason", "broken"), [
    ([], "", False),
    ([Need("a", "a-1", DONE)], "", False),
    ([Need("a", "a-1", RUNNING)], "It waits for a-1.", False),
    ([Need("a", "a-1", RUNNING), Need("b", "b-2", JobState.QUEUED)], "It waits for a-1, b-2.",
     False),
    ([Need("a", "a-1", HELD)], "It waits for a-1, which is held.", False),
    ([Need("a")], "It waits for a, and there is no such job.", False),
    ([Need("a", "a-1", RUNNING), Need("b", "b-1", FAILED)], "b-1, which it waits for, failed.",
     True),
    ([Need("a"), Need("b", "b-1", JobState.CANCELLED)],
     "b-1, which it waits for, was cancelled.", True),
])
def test_each_way_of_waiting_is_told_in_words(needs: list[Need], reason: str, broken: bool
                                              ) -> None:
    """Nothing waits without saying for what; what cannot come true is held."""
    answer = dependencies.judge("me-1", needs)
    assert (answer.reason, answer.broken) == (reason, broken)
    needs_a_person = broken or "held" in reason or "no such" in reason
    assert bool(answer.hint) == needs_a_person


def test_jobs_that_wait_for_each_other_are_found() -> None:
    """With the way around, in the order in which they wait."""
    edges = {"a": ["x", "b"], "b": ["c"], "c": ["a"], "x": []}
    assert dependencies.cycle("a", edges.__getitem__) == ["a", "b", "c", "a"]
    assert dependencies.cycle("x", edges.__getitem__) == []
    assert dependencies.cycle("me", {"me": ["me"]}.__getitem__) == ["me", "me"]


graphs = st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7), max_size=3))


@given(graphs)
def test_a_way_around_is_found_exactly_where_there_is_one(graph: dict[int, set[int]]) -> None:
    """And each of its steps is a real one."""
    def edges(node: str) -> list[str]:
        return sorted(str(n) for n in graph.get(int(node), ()))

    reach: set[str] = set()
    todo = edges("0")
    while todo:
        node = todo.pop()
        if node not in reach:
            reach.add(node)
            todo += edges(node)
    way = dependencies.cycle("0", edges)
    assert bool(way) == ("0" in reach)
    assert all(b in edges(a) for a, b in itertools.pairwise(way))
    assert not way or (way[0], way[-1]) == ("0", "0")
