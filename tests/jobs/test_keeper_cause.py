"""The cause of an end, for each thing that a keeper can have seen."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rig

from rekindle.jobs import environment
from rekindle.jobs.job import Job
from rekindle.jobs.keeper.cause import End, cause
from rekindle.state import durable
from rekindle.state.paths import Run
from rekindle.state.run import journal

KILLED = -signal.SIGKILL


@pytest.mark.parametrize(
    ("status", "seen", "named"),
    [
        (0, {}, "done"),
        # it came to its end before the signal did
        (0, {"stop_requested": True, "killer": "host"}, "done"),
        (1, {}, "crash"),
        (KILLED, {}, "crash"),
        (environment.EXIT_SAVED, {"stop_requested": True}, "preempted"),
        (environment.EXIT_SAVED, {}, "preempted"),
        (-signal.SIGTERM, {"stop_requested": True}, "preempted"),
        (KILLED, {"stop_requested": True, "killed_after_grace": True}, "preempted"),
        (1, {"stop_requested": True}, "crash"),
        (environment.EXIT_PERMANENT, {}, "permanent"),
        (KILLED, {"over_memory": True}, "host_oom"),
        # a data worker was killed, and its trainer ended by an exception
        (1, {"killer": "job"}, "host_oom"),
        (KILLED, {"killer": "host"}, "host_oom"),
        # the kill was ours, or the kernel killed somebody else
        (KILLED, {"killer": "host", "killed_after_grace": True}, "crash"),
        (1, {"killer": "host"}, "crash"),
        (KILLED, {"hung": True, "killed_after_grace": True}, "hang"),
        (environment.EXIT_SAVED, {"hung": True}, "hang"),
    ],
)
def test_what_the_keeper_saw_names_the_cause(status: int, seen: dict[str, Any], named: str) -> None:
    assert cause(End(status, **seen)) == named


def test_an_end_is_told_by_exit_code_or_by_signal() -> None:
    code, by_signal = End(3), End(KILLED)
    assert (code.exit_code, code.signal) == (3, None)
    assert (by_signal.exit_code, by_signal.signal) == (None, signal.SIGKILL)


def test_the_end_of_a_trainer_that_ends_at_once_is_seen(tmp_path: Path) -> None:
    """It has ended before its keeper looks, and nothing but the keeper takes its exit status."""
    run = Run(tmp_path)
    job = Job(name="a", id="a-1", workdir="/", command=("sh", "-c", "exit 7"))
    durable.write_bytes(run.job_file, job.to_json().encode())
    code = (
        "import os, sys\n"
        "from rekindle.jobs.keeper import main, spawn\n"
        "plain = spawn.spawn\n"
        "def spawn_and_wait(*args, **more):\n"
        "    made = plain(*args, **more)\n"
        "    os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)\n"
        "    return made\n"
        "spawn.spawn = spawn_and_wait\n"
        f"sys.argv = ['keeper', {str(tmp_path)!r}, '1']\n"
        "main.main()\n"
    )
    subprocess.run([sys.executable, "-c", code], env=rig.environment(), timeout=60, check=True)
    (ended,) = [e for e in journal.replay(run.journal).entries if e["kind"] == "attempt_ended"]
    assert ended["exit_code"] == 7
