"""Steps after the save on SIGTERM have no effect outside of the process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import environment

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
        "os.replace('kept.txt', 'other.txt')",
        "Path('kept.txt').unlink()",
        "import subprocess; subprocess.run(['touch', 'touched'])",
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


HELD = """
import os, socket
from rekindle.jobs.process import OwnDescriptor
from rekindle.jobs.proof.last_steps import _held_open as held
folder, file = os.path.realpath("run") + "/", os.path.realpath("log.csv")
assert held(folder, set()) is None
with open(file, "w"):
    assert held(folder, set()) == file
    assert held(folder, {file}) is None
with open(file), open("events.out.tfevents.1.host.2.0.v2", "w"), open("run/own", "w"):
    os.memfd_create("shared")
    assert held(folder, set()) is None
with socket.socket() as mine:
    assert held(folder, set()) == "a connection"
    own = OwnDescriptor.of(mine.fileno())
    assert held(folder, set(), own) is None, "the one to the keeper"
    with socket.socket():
        assert held(folder, set(), own) == "a connection"
"""


def test_connections_and_files_held_for_writing_are_found(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    subprocess.run(
        [sys.executable, "-c", HELD], cwd=tmp_path, env=environment(), timeout=60, check=True
    )
