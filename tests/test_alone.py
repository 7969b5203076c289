"""Without a daemon: run by hand, stopped by hand, run again, and exact all the same."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig import environment, wait_for

from rekindle.state import checkpoints, journal
from rekindle.state.paths import Run

SCRIPT = Path(__file__).with_name("crash") / "alone.py"


def start(work: Path, *args: str) -> "subprocess.Popen[bytes]":
    """The script in a folder of its own, as a person starts it."""
    work.mkdir(exist_ok=True)
    with (work / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, SCRIPT, "kept", *args], cwd=work, stdout=log,
                                stderr=log, env=environment(PYTHONHASHSEED="0"))


def at_step(work: Path, step: int) -> None:
    """Until a checkpoint at or behind a step is there."""
    wait_for(lambda: any(c.position.step >= step
                         for c in checkpoints.scan(work / "kept" / "checkpoints")),
             f"step {step}: {(work / 'log').read_text()[-2000:]}", 90)


@pytest.mark.slow
@pytest.mark.crash
def test_a_script_run_by_hand_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGKILL; in a loop and in a `fit`; no step is trained twice."""
    calm, work = tmp_path / "calm", tmp_path / "work"
    assert start(calm).wait(120) == 0, (calm / "log").read_text()
    ends = []
    for step, signum in ((20, signal.SIGINT), (40, signal.SIGKILL), (70, signal.SIGTERM),
                         (90, signal.SIGKILL)):
        script = start(work, "--slowly")
        at_step(work, step)
        script.send_signal(signum)
        ends.append(script.wait(60))
    assert ends == [75, -9, 75, -9], (work / "log").read_text()
    assert start(work).wait(120) == 0, (work / "log").read_text()
    assert (calm / "end.txt").read_text() == (work / "end.txt").read_text()
    entries = journal.replay(Run(work / "kept").journal).entries
    went_on = [e for e in entries if e["kind"] == "resumed" and e["checkpoint"]]
    assert [e["step"] > 0 for e in went_on] == [True] * 4
    # the two that were asked to end had saved their last step
    assert [e["lost_steps"] for e in went_on][::2] == [0, 0]


@pytest.mark.slow
def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    """The second says so and ends; the first is not disturbed."""
    first = start(tmp_path / "work", "--slowly")
    try:
        at_step(tmp_path / "work", 10)
        second = start(tmp_path / "work")
        assert second.wait(90) == 1
        assert "Another process trains in this folder" in (tmp_path / "work/log").read_text()
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()


def test_importing_jobs_loads_no_keras() -> None:
    """Keeper and daemon import it, too."""
    code = ("import sys, rekindle.jobs\nassert 'keras' not in sys.modules\n"
            "assert 'numpy' not in sys.modules\nprint(rekindle.jobs.__all__)")
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), text=True,
                         capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert "resumable" in ran.stdout
