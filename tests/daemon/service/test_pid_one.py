"""The daemon as PID 1 of a container: signals and zombies."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig import Rig, environment, wait_for

ORPHANS = """
import os, time
if os.environ["REKINDLE_ATTEMPT"] != "1":
    raise SystemExit  # it is started again a second after the keeper was killed
# a child of a child, left behind on purpose: the keeper is killed before it could end it
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    os._exit(0)
print("up", flush=True)
time.sleep(600)
"""


def inside(outer: int) -> dict[int, str]:
    """State letter of every process in the pid namespace of ``outer``, by its pid in there."""
    space = os.readlink(f"/proc/{outer}/ns/pid")
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == space:
                status = (entry / "status").read_text()
                lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                found[int(lines["NSpid"].split()[-1])] = lines["State"][0]
        except (OSError, KeyError):
            continue
    return found


@pytest.mark.faults
def test_as_pid_one_the_daemon_reaps_orphans_and_takes_sigterm(rig: Rig, tmp_path: Path) -> None:
    """No zombie stays, and SIGTERM saves and ends with exit code 0, as `docker stop` wants it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    (tmp_path / "orphans.py").write_text(ORPHANS)
    with rig.log.open("ab") as log:
        outer = subprocess.Popen(
            [
                "unshare",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
                sys.executable,
                "-m",
                "rekindle.daemon",
                "--home",
                str(rig.home.root),
                "run",
            ],
            stdout=log,
            stderr=log,
            env=environment(),
        )
    try:
        (one,) = wait_for(
            lambda: Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split(),
            "PID 1 is there",
        )
        rig.drop(f'name = "nap"\nscript = "{tmp_path}/orphans.py"\n[retry]\nbackoff = "60s..90s"\n')
        entry = wait_for(lambda: rig.entries("nap-1", "attempt_started"), "it runs")[0]
        assert entry["keeper_pid"] in wait_for(
            lambda: inside(int(one)) if len(inside(int(one))) > 3 else None, "all are up"
        )
        subprocess.run(
            ["nsenter", "-t", one, "-p", "-m", "kill", "-KILL", str(entry["keeper_pid"])],
            check=True,
        )
        # the keeper's leftovers became children of PID 1; after a while it is alone
        wait_for(lambda: set(inside(int(one))) == {1}, "the orphans are reaped", 60)
        os.kill(int(one), signal.SIGTERM)
        assert outer.wait(60) == 0
    finally:
        outer.kill()
