"""The time of day jumps by a day, forward and back; nothing waits for it."""

import glob
import os
import signal
import time
from pathlib import Path

import pytest
from nights import Night, result, steps
from rig import wait_for

from rekindle.daemon.service.clock import Clock
from rekindle.jobs import heartbeat

DAY = 86400
LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)


@pytest.mark.faults
@pytest.mark.parametrize("day", [1, -1])
def test_a_clock_that_jumps_by_a_day_delays_nothing(night: Night, tmp_path: Path, day: int) -> None:
    """Daemon, keeper and trainer live on a clock that is set while one trains and one waits."""
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed (apt: faketime)")
    clock = tmp_path / "clock"
    set_clock(clock, "+0")
    folder = night.submit(
        "job",
        args=f"--steps 40 --wait-for {night.work}/go",
        spec='[limits]\nhang_timeout = "60s"\n',
    )
    night.submit(
        "waits", args="--steps 10 --fault exit@5 --once", spec='[retry]\nbackoff = "12s..13s"\n'
    )
    faked = {
        "LD_PRELOAD": LIBRARY,
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
    }
    night.start("--slots", "2", **faked)
    night.step("job-1", 5)
    wait_for(lambda: night.states().get("waits-1") == "waiting", "one waits for its next try")
    set_clock(clock, f"{day:+d}d")
    wait_for(lambda: "clock_jumped" in night.said(), "the daemon says so")
    # the next daemon knows of the wait only what the ledger says
    assert night.end(signal.SIGHUP) == 0
    night.start("--slots", "2", **faked)
    wait_for(lambda: night.states().get("waits-1") == "done", "it is tried again", 40)
    night.submit("late", args="--steps 3")
    (night.work / "go").touch()
    wait_for(lambda: night.states().get("job-1") == "done", "the training ends")
    wait_for(lambda: night.states().get("late-1") == "done", "a new job is taken")
    assert night.end() == 0
    assert steps(folder) == [(1, step) for step in range(40)]
    assert (folder / "job.result.txt").read_text() == result(40)


def set_clock(file: Path, offset: str) -> None:
    file.with_suffix(".new").write_text(offset + "\n")
    os.replace(file.with_suffix(".new"), file)


def test_a_jump_is_seen_against_the_monotonic_clock() -> None:
    """A tick that took an hour is no jump; a clock that is set is one, once."""
    clock = Clock(1000.0, 10.0)
    assert clock.jump(4600.0, 3610.0) == 0.0
    assert clock.jump(4600.0 - DAY, 3610.2) == pytest.approx(-DAY, abs=1)
    assert clock.jump(4601.0 - DAY, 3611.2) == 0.0
    assert clock.jump(4601.0, 3611.2) == pytest.approx(DAY, abs=1)
    assert clock.jump(4603.0, 3612.2) == 0.0


def test_the_last_beat_is_found_on_a_clock_that_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the count of beats, never by their time."""
    beats = heartbeat.Heartbeat(tmp_path / "heartbeat", 2)
    beats.beat("step", 0, 10)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    beats.beat("save", 0, 10)
    found = heartbeat.read(tmp_path / "heartbeat")
    assert found is not None
    assert (found.section, found.at) == ("save", 5.0)
