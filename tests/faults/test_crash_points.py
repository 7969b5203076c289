"""Killed between any two durable steps, everything is found again and nothing twice."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from nights import Night, result, steps
from rig import ROOT, wait_for

from rekindle.daemon import daemon_status
from rekindle.state import crash_points

pytestmark = pytest.mark.faults

# reached on the way of a job that trains, is stopped, released and retried, beside a bad spec; the
# others are walked in tests/daemon/test_new_code.py, tests/crash/test_fork.py and test_in_flight.py
OTHERS = (*crash_points.NEW_CODE, *crash_points.FORK, *crash_points.HANDOVER, *crash_points.SPARE)
WALKED = tuple(point for point in crash_points.POINTS if point not in OTHERS)
ENDED = {"job-1": "done", "keep-1": "held", **{f"sweep-{n}": "done" for n in (1, 2, 3)}}
# between a file and its job, between a job and its trainer, within a checkpoint
PROMISE = {"accepted", "keeper_spawned", "before_rename"}


def test_every_commit_point_is_listed_once() -> None:
    """A point that is not in the list would not be walked; one that is nowhere cannot be."""
    called = set()
    for file in (
        *ROOT.glob("daemon/**/*.py"),
        *ROOT.glob("jobs/**/*.py"),
        *ROOT.glob("state/**/*.py"),
    ):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and node.args
                and ast.unparse(node.func)
                in ("crash_point", "self._crash_point", "crash_points.reached")
            ):
                called |= {
                    leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)
                }
    assert called == set(crash_points.POINTS)
    assert len(crash_points.POINTS) == len(set(crash_points.POINTS))


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=[pytest.mark.promise] if point in PROMISE else [])
        for point in WALKED
    ],
)
def test_a_kill_at_any_point_leaves_one_job_and_one_trainer(night: Night, point: str) -> None:
    """Whoever reaches the point first dies there; the next daemon brings it all to its end."""
    died = night.work / "died"
    night.work.mkdir(parents=True)
    folder = night.submit("job", args="--steps 20 --pause 0.01 --every 4")
    night.drop("name = 7\n", "bad.toml")
    night.drop('name = "keep"\ncommand = ["sleep", "600"]\n', "keep.toml")
    night.drop('name = "sweep"\ncommand = ["true"]\n[grid]\nx = [1, 2, 3]\n', "sweep.toml")
    variable = {crash_points.VARIABLE: f"{point}@{died}"}
    kept = {"keep-1": "stop"}
    _go_on(night, variable, died, lambda: _finished(night, folder, kept))
    assert died.exists(), f"nothing reaches {point}"
    assert night.end() == 0

    assert sorted(row["id"] for row in night.ls()) == sorted(ENDED)
    assert {row["id"]: row["state"] for row in night.ls()} == ENDED
    points = [row["point"] for row in night.ls() if row["name"] == "sweep"]
    assert points == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert (folder / "job.result.txt").read_text() == result(20)
    last: dict[int, int] = {}
    for attempt, step in steps(folder):
        assert step == last.get(attempt, step - 1) + 1, "a step was passed over"
        last[attempt] = step
    assert not list(night.home.inbox.glob("*.toml"))
    assert [p.name for p in night.home.rejected.glob("*.toml")] == ["bad.toml"]
    assert (night.home.rejected / "bad.toml.error.txt").exists()
    assert list(night.home.claimed.iterdir()) == []
    night.invariants()


def _go_on(
    night: Night, variable: dict[str, str], died: Path, finished: Callable[[], bool]
) -> None:
    """Starts a daemon, and again whenever it has died, until all is finished.

    The point may be the very last step: a daemon whose pid is in ``died`` is about to die.
    """
    night.start("--slots", "2", **variable)

    def look() -> bool:
        assert night.daemon is not None
        if night.daemon.poll() is not None:
            assert died.exists(), night.said()
            night.start("--slots", "2")
            return False
        there = daemon_status.find(night.home)
        if there is None or there.pid != night.daemon.pid or not finished():
            return False
        pid = died.read_text() if died.exists() else ""
        return pid != "" and int(pid) != night.daemon.pid

    wait_for(look, "everything ends", 60)


def _finished(night: Night, folder: Path, ask: dict[str, str]) -> bool:
    if not night.home.ledger.exists():
        return False
    states = night.states()
    for job, verb in list(ask.items()):
        if states.get(job) == "running":
            night.request(verb, job)
            del ask[job]
    home = night.home
    return (
        states == ENDED
        and not list(home.inbox.glob("*.toml"))
        and not list(home.inbox.glob("*.json"))
        and not list(home.claimed.iterdir())
        and (home.rejected / "bad.toml").exists()
    )
