"""A job waits for the jobs in its `after`, and is held if one of them does not end well."""

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.gpus.monitor import Monitor
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queue_file import QueueFile
from rekindle.daemon.queueing import dependencies
from rekindle.daemon.queueing.dependencies import Cycles, Need
from rekindle.daemon.queueing.queue import Queue
from rekindle.jobs.job import Job
from rekindle.state.errors import HomeUnusable
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

DONE, FAILED, HELD, RUNNING = JobState.DONE, JobState.FAILED, JobState.HELD, JobState.RUNNING


@pytest.mark.parametrize(
    ("needs", "reason", "broken"),
    [
        ([], "", False),
        ([Need("a", "a-1", DONE)], "", False),
        ([Need("a", "a-1", RUNNING)], "It waits for a-1.", False),
        (
            [Need("a", "a-1", RUNNING), Need("b", "b-2", JobState.QUEUED)],
            "It waits for a-1, b-2.",
            False,
        ),
        ([Need("a", "a-1", HELD)], "It waits for a-1, which is held.", False),
        ([Need("a")], "It waits for a, and there is no such job.", False),
        (
            [Need("a", "a-1", RUNNING), Need("b", "b-1", FAILED)],
            "b-1, which it waits for, failed.",
            True,
        ),
        (
            [Need("a"), Need("b", "b-1", JobState.CANCELLED)],
            "b-1, which it waits for, was cancelled.",
            True,
        ),
    ],
)
def test_each_way_of_waiting_is_told_in_words(needs: list[Need], reason: str, broken: bool) -> None:
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


def reach(graph: dict[int, set[int]], start: int) -> set[str]:
    """Return the nodes that can be reached from a node by at least one step."""
    found: set[int] = set()
    todo = [*graph.get(start, ())]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += graph.get(node, ())
    return {str(node) for node in found}


graphs = st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7), max_size=3))


@given(graphs)
def test_a_way_around_is_found_exactly_where_there_is_one(graph: dict[int, set[int]]) -> None:
    """And each of its steps is a real one."""

    def edges(node: str) -> list[str]:
        return sorted(str(n) for n in graph.get(int(node), ()))

    way = dependencies.cycle("0", edges)
    assert bool(way) == ("0" in reach(graph, 0))
    assert all(b in edges(a) for a, b in itertools.pairwise(way))
    assert not way or (way[0], way[-1]) == ("0", "0")


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=4),
        max_size=8,
    )
)
def test_what_is_remembered_hides_no_circle(batches: list[list[tuple[int, int]]]) -> None:
    """Edges come in batches; only whose edges have grown is asked about, in any order."""
    graph: dict[int, set[int]] = {}
    cycles = Cycles(lambda node: {str(n) for n in graph.get(int(node), ())})
    for batch in batches:
        known = {node for node in graph if str(node) in reach(graph, node)}
        for tail, head in batch:
            graph.setdefault(tail, set()).add(head)
        found = {node for node, _ in batch if cycles.contain(str(node))}
        for node in {node for node in graph if str(node) in reach(graph, node)} - known:
            circle = {
                n for n in graph if str(n) in reach(graph, node) and str(node) in reach(graph, n)
            }
            assert found & circle
        assert all(str(node) in reach(graph, node) for node in found)


def test_the_one_before_in_a_series_is_told_by_number(tmp_path: Path) -> None:
    """A clock that was set back, or a run from another host, does not reverse a series."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    for number, submitted_at in ((1, 900.0), (3, 300.0), (4, 600.0)):
        ledger.insert_job(
            f"job-{number}",
            name="job",
            number=number,
            run_dir="",
            priority=0,
            spec="{}",
            claim=None,
            submitted_at=submitted_at,
        )
    before = {row.id: ledger.named_for(row, "job") for row in ledger.jobs()}
    ledger.close()
    assert {job: found and found.id for job, found in before.items()} == {
        "job-1": None,
        "job-3": "job-1",
        "job-4": "job-3",
    }


SHAPES = {
    "a series": lambda n: {f"job-{k}": ["job"] for k in range(1, n + 1)},
    "each waits for the next": lambda n: {f"job-{k}": [f"job-{k + 1}"] for k in range(1, n + 1)},
    "a series behind a circle": lambda n: {
        "job-1": ["other"],
        "other-1": ["job"],
        **{f"job-{k}": ["job"] for k in range(2, n + 1)},
    },
}


@pytest.mark.parametrize("at_once", [True, False], ids=["at start", "one by one"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_chain_of_jobs_costs_each_the_same(
    shape: str, at_once: bool, tmp_path: Path
) -> None:
    """Counted in SQLite's own steps: four times the jobs take about four times as many."""
    few = steps(tmp_path / "few", SHAPES[shape](30), at_once=at_once, most=10**7)
    steps(tmp_path / "many", SHAPES[shape](120), at_once=at_once, most=6 * few)


def steps(root: Path, jobs: dict[str, list[str]], *, at_once: bool, most: int) -> int:
    """Takes waiting jobs into the queue; the steps of SQLite's machine, fails over ``most``."""
    home = Home(root)
    home.create()
    ledger = Ledger.open(home.ledger)
    file = QueueFile(home)
    file.decide(paused=True, free=False, since=time.time())
    queue = Queue(
        ledger,
        Attempts(home, ledger, Launcher()),
        Pool(ledger, Monitor("-1"), file, free_share=0.8),
        file,
        slots=1,
    )
    taken = 0

    def count() -> bool:
        nonlocal taken
        taken += 10
        return taken > most  # ends the statement with an error

    ledger._db.set_progress_handler(count, 10)
    try:
        for arrival, (job, after) in enumerate(jobs.items()):
            name, _, number = job.rpartition("-")
            spec = Job(name=name, id=job, workdir="/", command=["true"], after=after).to_json()
            ledger.insert_job(
                job,
                name=name,
                number=int(number),
                run_dir=str(home.run(job).root),
                priority=0,
                spec=spec,
                claim=job,
                submitted_at=1e9 + arrival,
            )
            if not at_once:
                queue.tick()
        queue.load()
        queue.tick()
        while queue.is_behind:
            queue.tick()
    except HomeUnusable:
        pytest.fail(f"more than {most} steps")
    finally:
        ledger._db.set_progress_handler(None, 0)
    states = {row.id: row.state for row in ledger.jobs()}
    ledger.close()
    assert set(states.values()) <= {JobState.WAITING, JobState.HELD}
    assert (JobState.HELD in states.values()) == ("other-1" in jobs)
    return taken
