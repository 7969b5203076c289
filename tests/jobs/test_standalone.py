"""Without a daemon: run by hand, stopped by hand, run again, and resumed exactly."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rig import ROOT, environment, wait_for

from rekindle.jobs import bootstrap
from rekindle.jobs.job import Job
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal

SCRIPT = ROOT / "tests/crash/scripts/alone.py"


def start(work: Path, *args: str) -> "subprocess.Popen[bytes]":
    """Start the script in a separate folder, as a person does."""
    work.mkdir(exist_ok=True)
    with (work / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, SCRIPT, "kept", *args],
            cwd=work,
            stdout=log,
            stderr=log,
            env=environment(PYTHONHASHSEED="0"),
        )


def at_step(work: Path, step: int) -> None:
    """Wait for a checkpoint at or after a step."""
    wait_for(
        lambda: any(
            c.position.step >= step for c in checkpoints.scan(work / "kept" / "checkpoints")
        ),
        f"step {step}: {(work / 'log').read_text()[-2000:]}",
        90,
    )


@pytest.mark.slow(30)  # six starts of TensorFlow
@pytest.mark.crash
def test_a_script_run_by_hand_is_resumed_where_it_was_stopped(tmp_path: Path) -> None:
    """After Ctrl-C, SIGTERM and SIGKILL; in a loop and in a `fit`."""
    calm, work = tmp_path / "calm", tmp_path / "work"
    assert start(calm).wait(120) == 0, (calm / "log").read_text()
    ends = []
    for step, signum in (
        (20, signal.SIGINT),
        (40, signal.SIGKILL),
        (70, signal.SIGTERM),
        (90, signal.SIGKILL),
    ):
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
    # the two that were stopped had saved their last step
    assert [e["lost_steps"] for e in went_on][::2] == [0, 0]


@pytest.mark.slow(10)  # two starts of TensorFlow
def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    """The second reports it and ends; the first is not disturbed."""
    first = start(tmp_path / "work", "--slowly")
    try:
        at_step(tmp_path / "work", 10)
        # the first must still run when the second has imported its libraries
        first.send_signal(signal.SIGSTOP)
        second = start(tmp_path / "work")
        assert second.wait(90) == 1
        assert "Another process trains in this folder" in (tmp_path / "work/log").read_text()
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()


@pytest.mark.slow  # a start of TensorFlow
def test_a_script_can_import_resumable_without_rekindle_installed(tmp_path: Path) -> None:
    """Keeper and trainer provide it, from a folder that is on no path."""
    brought = tmp_path / "brought"
    for part in ("jobs", "state"):
        shutil.copytree(ROOT / part, brought / part, ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "train.py"
    script.write_text(
        "from rekindle.jobs import Loop, resumable\nimport rekindle.jobs.resume.loop\n"
        "print('FROM', rekindle.jobs.resume.loop.__file__)\n"
        "assert isinstance(resumable(5), Loop)\n"
    )
    run = Run(tmp_path / "run")
    for folder in (run.root, run.checkpoints):
        folder.mkdir()
    run.job_file.write_text(Job(name="a", workdir=str(tmp_path), script=str(script)).to_json())
    env = environment()
    del env["PYTHONPATH"]
    keeper, trainer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            bootstrap._CODE,
            str(brought),
            "rekindle.jobs.trainer.main",
            str(run.root),
            "1",
            str(trainer.fileno()),
        ],
        pass_fds=(trainer.fileno(),),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    keeper.close()
    trainer.close()
    assert ran.returncode == 0, ran.stderr
    assert f"FROM {brought / 'jobs/resume/loop.py'}" in ran.stdout


def test_importing_jobs_loads_no_keras() -> None:
    """Keeper and daemon import it, too."""
    code = (
        "import sys, rekindle.jobs\nassert 'keras' not in sys.modules\n"
        "assert 'numpy' not in sys.modules\nprint(rekindle.jobs.__all__)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment(), text=True, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "resumable" in ran.stdout


@pytest.mark.slow  # a start of TensorFlow
def test_keras_is_followed_though_another_library_came_first(tmp_path: Path) -> None:
    """The objects of the loop decide, not the order of imports."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, types\n"
        "sys.modules['jax'] = types.ModuleType('jax')  # as if it were imported\n"
        "from rekindle.jobs import resumable\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules\n"
        "del sys.modules['jax']\n"
        "import keras, numpy as np\n"
        "model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "for step in resumable(2, model=model):\n"
        "    model.train_on_batch(np.zeros((4, 2)), np.zeros((4, 1)))\n"
        "print('TRAINED')\n"
    )
    ran = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "TRAINED" in ran.stdout, ran.stderr
