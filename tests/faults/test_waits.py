"""The tick loop never waits: not for another client of the ledger, a program or a disk.

Each daemon here has the rig's watchdog of 5 s, as all others have.
"""

import os
import sqlite3
import time
from pathlib import Path

import pytest
from nights import Night
from rig import wait_for
from watchdog_stand_in import LIMIT_S

from rekindle.state import journal

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
        journal.append(night.home.run(f"j{n}-1").journal, "epoch_ended", attempt=1, epoch=0,
                       step=1, logs={})
    assert night.watchdog is not None
    time.sleep(3 * LIMIT_S)
    assert "in_trouble" in night.said()
    other.execute("ROLLBACK")
    other.close()
    wait_for(lambda: all(night.show(f"j{n}-1")["epochs"] for n in range(jobs)),
             "what was written meanwhile is taken in")
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
    night.start_in("unshare", "--mount", "sh", "-c",
                   f'mount --bind {membership} /proc/$$/cgroup && exec "$@"', "sh",
                   PATH=f"{tools}:{os.environ['PATH']}", INVOCATION_ID="0" * 32)
    night.step("job-1", 5)
    began = time.monotonic()
    assert night.end() == 0
    # both questions were asked, and waited for
    assert time.monotonic() - began > LIMIT_S
    assert (folder / "steps.txt").exists()
    assert night.states() == {"job-1": "queued"}
