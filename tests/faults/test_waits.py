"""The tick loop never waits: not for another client of the ledger, a program or a disk.

Each daemon here has the rig's watchdog of 5 s, as all others have.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from nights import Night
from rig import wait_for
from watchdog_stand_in import LIMIT_S

from rekindle.state.run import journal

pytestmark = pytest.mark.faults


def test_a_ledger_held_by_another_client_costs_each_tick_a_second(night: Night) -> None:
    """KiroCrew#3050: the limit for waiting is that of all writes together, not of each."""
    jobs = 4
    for n in range(jobs):
        night.submit_command(f"j{n}", "-c", "import time; time.sleep(600)")
    night.start("--slots", str(jobs))
    wait_for(lambda: [*night.states().values()] == ["running"] * jobs, "all run")
    other = sqlite3.connect(night.home.ledger, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for n in range(jobs):
        journal.append(
            night.home.run(f"j{n}-1").journal, "epoch_ended", attempt=1, epoch=0, step=1, logs={}
        )
    assert night.watchdog is not None
    time.sleep(3 * LIMIT_S)
    assert "in_trouble" in night.said()
    other.execute("ROLLBACK")
    other.close()
    wait_for(
        lambda: all(night.show(f"j{n}-1")["epochs"] for n in range(jobs)),
        "what was written meanwhile is taken in",
    )
    for n in range(jobs):
        night.request("cancel", f"j{n}-1")
    wait_for(lambda: set(night.states().values()) == {"cancelled"}, "all end")
    assert night.end() == 0


def test_a_service_manager_that_does_not_answer_does_not_stop_the_loop(
    night: Night, tmp_path: Path
) -> None:
    """`systemctl` hangs at SIGTERM: pings go on, and what runs is saved."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\nexec sleep 60\n")
    (tools / "systemctl").chmod(0o755)
    membership = tmp_path / "cgroup"
    membership.write_text("0::/system.slice/rekindle.service\n")
    folder = night.submit("job", args="--steps 100000")
    # in a mount namespace of its own the daemon's pid, which `exec` keeps, is in a unit
    night.start_in(
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount --bind {membership} /proc/$$/cgroup && exec "$@"',
        "sh",
        PATH=f"{tools}:{os.environ['PATH']}",
        INVOCATION_ID="0" * 32,
    )
    night.step("job-1", 5)
    began = time.monotonic()
    assert night.end() == 0
    # both questions were asked, and waited for
    assert time.monotonic() - began > LIMIT_S
    assert (folder / "steps.txt").exists()
    assert night.states() == {"job-1": "queued"}


def test_a_slow_git_holds_up_the_specs_that_need_it_and_nobody_else(
    night: Night, tmp_path: Path
) -> None:
    """Its look at a repository takes longer than the watchdog; other specs and requests go on."""
    tools, code = tmp_path / "bin", tmp_path / "code"
    tools.mkdir()
    code.mkdir()
    git = shutil.which("git")
    assert git is not None
    (tools / "git").write_text(f'#!/bin/sh\nsleep {LIMIT_S + 3}\nexec {git} "$@"\n')
    (tools / "git").chmod(0o755)
    (code / "train.py").write_text("print('trained')\n")
    subprocess.run([git, "init", "-q", str(code)], check=True)
    night.start(PATH=f"{tools}:{os.environ['PATH']}")
    night.drop(f'name = "slow"\nscript = "{code}/train.py"\n', "slow.toml")
    wait_for(lambda: [*night.home.claimed.iterdir()], "it is claimed")
    night.submit("quick", args="--steps 3")
    night.wait_state("quick-1", "done")
    assert "slow-1" not in night.states()
    night.wait_state("slow-1", "done", seconds=180)
    source = night.show("slow-1")["spec"]["source"]
    assert source["files"] == 1
    assert night.end() == 0


def test_a_daemon_that_ends_while_code_is_copied_accepts_the_spec_the_next_time(
    night: Night, tmp_path: Path
) -> None:
    """Exactly once, and the daemon does not wait for git to end."""
    tools, code = tmp_path / "bin", tmp_path / "code"
    tools.mkdir()
    code.mkdir()
    (tools / "git").write_text("#!/bin/sh\nexec sleep 20\n")
    (tools / "git").chmod(0o755)
    (code / "train.py").write_text("print('trained')\n")
    (code / ".git").mkdir()
    night.start(PATH=f"{tools}:{os.environ['PATH']}")
    night.drop(f'name = "slow"\nscript = "{code}/train.py"\n', "slow.toml")
    wait_for(lambda: [*night.home.claimed.iterdir()], "it is claimed")
    began = time.monotonic()
    assert night.end() == 0
    assert time.monotonic() - began < 15
    assert night.states() == {}
    night.start()
    night.wait_state("slow-1", "done")
    assert [*night.home.claimed.iterdir()] == []
    assert [*night.states()] == ["slow-1"]
    assert night.end() == 0


def test_weights_of_many_gigabytes_are_read_beside_the_loop(night: Night) -> None:
    """Reading them takes longer than the watchdog waits; another job runs meanwhile."""
    night.submit_command("src", "-c", "")
    night.start("--slots", "2")
    night.wait_state("src-1", "done")
    made = night.home.run("src-1").checkpoints / "e0001-s00000010"
    made.mkdir(parents=True)
    size, found, zeros = 4 * 2**30, hashlib.sha256(), bytes(2**22)
    began = time.monotonic()
    for _ in range(size // len(zeros)):
        found.update(zeros)
    took = time.monotonic() - began
    with (made / "w.bin").open("wb") as file:
        file.truncate(size)
    (made / "manifest.json").write_text(
        json.dumps(
            {
                "format": 1,
                "name": made.name,
                "files": {"w.bin": {"bytes": size, "sha256": found.hexdigest()}},
            }
        )
    )
    night.drop(
        'name = "warm"\ncommand = ["true"]\nworkdir = "/tmp"\nwarm_start = "src-1"\n', "warm.toml"
    )
    waiting = night.wait_state("warm-1", "waiting")
    assert "weights of src-1" in waiting["reason"]
    night.submit("quick", args="--steps 3")
    night.wait_state("quick-1", "done")
    night.wait_state("warm-1", "done", seconds=60 + 20 * took)
    assert (night.home.run("warm-1").warm_start / made.name / "w.bin").stat().st_nlink == 2
    assert night.end() == 0
