"""`max_runtime` and `seconds` count the time that an attempt ran, however it ended.

Kinds of source: schedulers whose time limit ran on through a power cut or a closed laptop (walltime
by `now - start`), and timers that a step of the clock ended or stretched.
"""

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.jobs.attempt.run_history import RunHistory
from rekindle.jobs.heartbeat import Beat
from rekindle.jobs.process import Identity
from rekindle.state.run import running_time
from rekindle.state.run.running_time import LONGEST_LOOK_S, RunningTime

HOURS = 10 * 3600.0


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([1.0, 2.0, 3.0], 3.0),
        ([1.0, 2.0, 2.0 + HOURS], 2.0 + LONGEST_LOOK_S),  # suspended, frozen or stopped
        ([1.0, 9.0, 10.0], 10.0),  # a slow disk
        ([1.0, 0.5, 1.5], 2.0),  # no clock runs backwards twice
        ([], 0.0),
    ],
)
def test_time_in_which_a_keeper_does_not_run_is_bounded(
    looks: list[float], seconds: float, tmp_path: Path
) -> None:
    ran = RunningTime(3, 0.0)
    for now in looks:
        ran.look(now)
    assert ran.seconds == seconds
    ran.publish(tmp_path / "t")
    assert running_time.read(tmp_path / "t", 3) == pytest.approx(seconds)
    assert running_time.read(tmp_path / "t", 4) is None


@pytest.mark.parametrize(
    "data", [b"", b"3 7.0", b"3 7.0 00000000", b"\0" * 64, b"3 nan 1", b"x" * 999]
)
def test_a_file_that_says_nothing_is_not_believed(data: bytes, tmp_path: Path) -> None:
    """After a power cut it may be empty or full of zeros."""
    (tmp_path / "t").write_bytes(data)
    assert running_time.read(tmp_path / "t", 3) is None


@pytest.mark.parametrize("published", [True, False])
def test_hours_of_a_power_cut_are_no_running_time(rig: Rig, published: bool) -> None:
    """Daemon, keeper and command are killed; ten hours pass before the next daemon."""
    argv = json.dumps(["sh", "-c", "while sleep 0.1; do :; done"])
    rig.drop(f'name = "m"\ncommand = {argv}\nworkdir = "/tmp"\n[limits]\nmax_runtime = "1h"\n')
    rig.start()
    rig.wait_state("m-1", "running")
    run = rig.home.run("m-1")
    wait_for(lambda: (running_time.read(run.running_time, 1) or 0) > 0.5, "it is published")
    started = rig.entries("m-1", "attempt_started")[0]
    assert rig.daemon is not None
    rig.daemon.kill()
    rig.daemon.wait()
    for who in ("trainer", "keeper"):
        named = Identity(started[f"{who}_pid"], started[f"{who}_start"], started["boot_id"])
        assert named.send(signal.SIGKILL)
    if not published:
        run.running_time.unlink()
    # the same as to wait: all that was written is ten hours old
    with sqlite3.connect(rig.home.ledger) as ledger:
        ledger.execute("UPDATE attempts SET started_at = started_at - ?", (HOURS,))
    ledger.close()
    if published:
        info = run.running_time.stat()
        os.utime(run.running_time, (info.st_atime - HOURS, info.st_mtime - HOURS))
    rig.start()
    wait_for(lambda: len(rig.show("m-1")["attempts"]) == 2, "it is relaunched")
    first = rig.show("m-1")["attempts"][0]
    assert first["outcome"] == "lost"
    assert 0 <= first["seconds"] < 60
    assert first["ended_at"] - first["started_at"] < 60
    assert rig.show("m-1")["state"] in ("starting", "running")


def test_the_furthest_step_of_any_attempt_counts_as_reached() -> None:
    """An attempt that ends before the point of the one before it repeats what is left, too."""
    entries = [
        {"kind": "resumed", "attempt": 1, "stage": 0, "step": 0, "t": 0.0, "checkpoint": None},
        {"kind": "attempt_ended", "attempt": 1, "at_step": 100, "t": 90.0},
        {"kind": "resumed", "attempt": 2, "stage": 0, "step": 50, "t": 100.0, "checkpoint": "c"},
        {"kind": "attempt_changed", "attempt": 2, "to_step": 60, "cause": "lost", "t": 110.0},
    ]
    past = RunHistory.of(entries, 3, Beat(109.0, 2, "step", 0, 60))
    assert past.reached == 100
    assert past.repeated(0, 50, None, [])[0] == 50
