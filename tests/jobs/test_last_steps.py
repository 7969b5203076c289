"""Steps after the save on SIGTERM have no effect outside of the process."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import environment

from rekindle.jobs.proof import last_steps

BEGUN = """
import os, signal, sys, time
from pathlib import Path
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.grace_period import GracePeriod
from rekindle.jobs.proof.last_steps import LastSteps

held = open("held.txt", "w") if "held" in sys.argv else None
shutdown.install()
if "own" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: None)
shutdown.in_training(True)
grace = GracePeriod(1.0 if "short" in sys.argv else 60.0)
grace.watch()
os.kill(os.getpid(), signal.SIGTERM)
while grace.left() is None:
    time.sleep(0.001)
steps = LastSteps(Path("run"), grace)
begun = steps.begin(7, 3.0 if "slow" in sys.argv else 0.01, [])
print("begun" if begun else "not begun", flush=True)
"""


def run(tmp_path: Path, code: str = "", *arguments: str) -> tuple[int, str]:
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BEGUN + code, *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_they_end_after_four_steps(tmp_path: Path) -> None:
    loop = "for step in range(8, 20):\n  print(step, flush=True)\n  steps.step_done(step, 0.01)\n"
    code, out = run(tmp_path, loop)
    assert code == 75
    assert [line for line in out.split() if line.isdecimal()][-4:] == ["8", "9", "10", "11"]


def test_they_end_in_time_within_a_long_step(tmp_path: Path) -> None:
    began = time.monotonic()
    code, _ = run(tmp_path, "time.sleep(50)")
    assert code == 75
    assert time.monotonic() - began < 45


@pytest.mark.parametrize(
    "effect",
    [
        "open('result.txt', 'a')",
        "Path('folder').mkdir()",
        "os.replace('kept.txt', 'other.txt')",
        "Path('kept.txt').unlink()",
        "import subprocess; subprocess.run(['touch', 'touched'])",
        "os.system('touch touched')",
    ],
)
def test_the_process_ends_before_an_effect(effect: str, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    code, out = run(tmp_path, f"open('kept.txt').read()\nopen('run/own', 'w')\n{effect}\nprint(1)")
    assert (code, out.split()[-1]) == (75, "begun")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "kept.txt"}
    assert (tmp_path / "run" / "own").exists()


@pytest.mark.parametrize("why", ["held", "own", "short", "slow"])
def test_they_are_left_out(why: str, tmp_path: Path) -> None:
    """A file is held open for writing, a handler of the script's own, too little time."""
    code, out = run(tmp_path, "", why)
    assert (code, out.split("\n")[-2]) == (0, "not begun")
    assert ("held.txt" in out) == (why == "held")


def test_connections_and_files_held_for_writing_are_found(tmp_path: Path) -> None:
    folder = f"{tmp_path / 'run'}/"
    if last_steps._held_open(folder, set()) is not None:
        pytest.skip("the test process itself holds files")
    file = tmp_path / "log.csv"
    with file.open("w"):
        assert last_steps._held_open(folder, set()) == str(file)
        assert last_steps._held_open(folder, {str(file)}) is None
    with file.open():
        assert last_steps._held_open(folder, set()) is None
    with (tmp_path / "events.out.tfevents.1.host.2.0.v2").open("w"):
        assert last_steps._held_open(folder, set()) is None
    with socket.socket():
        assert last_steps._held_open(folder, set()) == "a connection"
    os.close(os.memfd_create("shared"))
