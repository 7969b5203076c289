"""The whole system with real processes: drop a spec, kill any process, and the job completes."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig import DATA, ROOT, Rig, environment, wait_for

from rekindle.state.run import checkpoints, tensors

EXAMPLE = ROOT / "examples" / "digits" / "train.py"
TENSORFLOW_FIRST = ROOT / "tests/scripts/idioms/tensorflow_first.py"


def spec(workdir: Path, epochs: int = 4, name: str = "digits", **top: object) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in top.items())
    return (
        f'name = "{name}"\nscript = "{EXAMPLE}"\nworkdir = "{workdir}"\n{lines}'
        f'args = ["--epochs", "{epochs}"]\n[retry]\nbackoff = "1s..2s"\n'
    )


def final_state(rig: Rig, job: str) -> dict[str, bytes]:
    """Return the bytes of all tensors of the newest checkpoint."""
    found = checkpoints.latest_good(rig.home.run(job).checkpoints).checkpoint
    assert found is not None
    return {name: array.tobytes() for name, array in tensors.load(found.state)[0].items()}


@pytest.mark.slow(20)  # three starts of TensorFlow
@pytest.mark.promise
def test_a_killed_job_ends_with_the_model_of_an_undisturbed_one(rig: Rig, tmp_path: Path) -> None:
    """A script that imports TensorFlow first, as most do; both at once, on one daemon."""
    for name in ("calm", "killed"):
        rig.drop(
            f'name = "{name}"\nscript = "{TENSORFLOW_FIRST}"\nworkdir = "{tmp_path}"\n'
            '[checkpoint]\nevery = "3 steps"\n[retry]\nbackoff = "200ms..500ms"\n',
            f"{name}.toml",
        )
    rig.start("--until-idle", "--slots", "2")
    rig.wait_epochs("killed-1", 1)
    assert rig.trainer("killed-1", 1).send(signal.SIGKILL)
    assert rig.daemon is not None
    assert rig.daemon.wait(300) == 0
    shown, calm = rig.show("killed-1"), rig.show("calm-1")
    assert [a["outcome"] for a in shown["attempts"]] == ["crashed", "done"]
    assert shown["attempts"][1]["from_epoch"] >= 1
    assert [e["epoch"] for e in shown["epochs"]] == list(range(4))
    assert [e["logs"] for e in shown["epochs"]] == [e["logs"] for e in calm["epochs"]]
    assert final_state(rig, "killed-1") == final_state(rig, "calm-1")
    receipt = next(e for e in rig.entries("killed-1", "resumed") if e["attempt"] == 2)
    assert (receipt["inexact"], receipt["unfollowed"]) == ([], [])


@pytest.mark.slow(60)  # five starts of TensorFlow
def test_a_job_survives_every_end_in_one_night(rig: Rig, tmp_path: Path) -> None:
    """SIGKILL, SIGTERM, a killed daemon, a damaged checkpoint: same bits, each end recorded."""
    rig.drop(spec(tmp_path, name="calm", epochs=12))
    assert rig.start("--until-idle").wait(300) == 0

    rig.drop(spec(tmp_path, name="stormy", epochs=12))
    rig.start()
    rig.wait_epochs("stormy-1", 1)
    assert rig.trainer("stormy-1", 1).send(signal.SIGKILL)
    rig.wait_epochs("stormy-1", 2)
    assert rig.trainer("stormy-1", 2).send(signal.SIGTERM)
    trainer = rig.trainer("stormy-1", 3)
    rig.end(signal.SIGKILL)
    reached = max(entry["epoch"] for entry in rig.entries("stormy-1", "checkpoint_committed"))
    rig.wait_epochs("stormy-1", reached + 2)
    assert trainer.alive()
    assert trainer.send(signal.SIGKILL)
    wait_for(
        lambda: len(rig.entries("stormy-1", "attempt_ended")) == 3, "the keeper records its end"
    )
    damaged = checkpoints.scan(rig.home.run("stormy-1").checkpoints)[0]
    content = bytearray(damaged.state.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.state.write_bytes(content)
    assert rig.start("--until-idle").wait(300) == 0

    shown = rig.show("stormy-1")
    assert shown["state"] == "done"
    assert [(a["outcome"], a["cause"]) for a in shown["attempts"]] == [
        ("crashed", "crash"),
        ("preempted", "preempted"),
        ("crashed", "crash"),
        ("done", "done"),
    ]
    assert shown["attempts"][0]["signal"] == signal.SIGKILL
    # a second run from scratch would be equal as well: the relaunches must really have resumed
    assert shown["attempts"][1]["from_epoch"] >= 1
    assert shown["attempts"][2]["from_step"] > shown["attempts"][1]["from_step"]
    # those that were trained after the save, to be repeated
    assert shown["attempts"][2]["lost_steps"] in range(5)
    assert (
        shown["attempts"][2]["from_step"]
        < shown["attempts"][3]["from_step"]
        < damaged.position.step
    )
    assert [entry["name"] for entry in rig.entries("stormy-1", "checkpoint_refused")] == [
        damaged.name
    ]
    assert [e["epoch"] for e in shown["epochs"]] == list(range(12))
    calm = rig.show("calm-1")
    assert [e["logs"] for e in shown["epochs"]] == [e["logs"] for e in calm["epochs"]]
    assert final_state(rig, "stormy-1") == final_state(rig, "calm-1")


@pytest.mark.slow(20)  # two starts of TensorFlow
def test_the_articles_cnn_trains_evaluates_and_resumes(rig: Rig, tmp_path: Path) -> None:
    """The Fashion-MNIST example on real images, killed once."""
    if not DATA.exists():
        pytest.skip(f"the images are missing ({DATA.name})")
    script = ROOT / "examples" / "fashion_mnist" / "train.py"
    rig.drop(
        f'name = "fashion"\nscript = "{script}"\nworkdir = "{tmp_path}"\n'
        f'args = ["--data", "{DATA}", "--epochs", "3"]\n[retry]\nbackoff = "1s..2s"\n'
    )
    rig.start("--until-idle")
    rig.wait_epochs("fashion-1", 1)
    assert rig.trainer("fashion-1", 1).send(signal.SIGKILL)
    assert rig.daemon is not None
    assert rig.daemon.wait(240) == 0

    shown = rig.show("fashion-1")
    assert shown["state"] == "done"
    assert [e["epoch"] for e in shown["epochs"]] == [0, 1, 2]
    assert shown["attempts"][1]["from_epoch"] >= 1
    assert "accuracy" in rig.cli("logs", "fashion-1").lower()


def test_the_examples_do_not_import_rekindle() -> None:
    """The user's script is unchanged Keras; only a loop of its own names what it saves."""
    importing = re.compile(r"^\s*(import|from) rekindle", re.MULTILINE)
    scripts = list((ROOT / "examples").rglob("*.py"))
    assert len(scripts) > 5
    found = [script.name for script in scripts if importing.search(script.read_text())]
    assert found == ["custom_loop.py"]


def test_submit_accepts_a_script_without_a_spec(rig: Rig, tmp_path: Path) -> None:
    """`rekindle submit train.py --name x -- ARGS` works; modules beside the script are imported."""
    (tmp_path / "state.py").write_text("WHO = 'mine'\n")
    (tmp_path / "train.py").write_text(
        "import sys, os, state\n"
        "assert state.WHO == 'mine'\n"
        "assert __name__ == '__main__'\n"
        "assert 'NOTIFY_SOCKET' not in os.environ\n"
        "print('args', sys.argv[1:])\n"
    )
    rig.cli("submit", "--queue", str(tmp_path / "train.py"), "--name", "x", "--", "--epochs", "5")
    daemon = rig.start("--until-idle", NOTIFY_SOCKET=str(tmp_path / "none"))
    assert daemon.wait(60) == 0

    assert rig.show("x-1")["state"] == "done", rig.cli("logs", "x-1")
    assert "args ['--epochs', '5']" in rig.cli("logs", "x-1")
    assert rig.cli("wait", "x-1") is not None


def test_a_bug_in_the_script_fails_after_two_attempts(rig: Rig, tmp_path: Path) -> None:
    """A typo is not retried all night, and the traceback is in `show`."""
    (tmp_path / "train.py").write_text("import keras_with_a_typo\n")
    rig.drop(f'name = "typo"\nscript = "{tmp_path}/train.py"\n[retry]\nbackoff = "1s..2s"\n')
    assert rig.start("--until-idle").wait(60) == 0

    shown = rig.show("typo-1")
    assert (shown["state"], len(shown["attempts"])) == ("failed", 2)
    assert "keras_with_a_typo" in shown["reason"]
    assert "ModuleNotFoundError" in rig.cli("show", "typo-1")
    rig.cli("wait", "typo-1", code=1)


def test_a_second_daemon_on_one_home_is_refused(rig: Rig) -> None:
    """Two daemons would start every job twice."""
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    second = subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(rig.home.root), "run"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
    )
    assert second.returncode == 4
    assert "Another daemon" in second.stderr
    assert "hint" in second.stderr


def test_stop_release_and_cancel_change_the_job(rig: Rig, tmp_path: Path) -> None:
    """Requests are files: they also work while the daemon is down."""
    (tmp_path / "sleep.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    rig.drop(f'name = "nap"\nscript = "{tmp_path}/sleep.py"\n')
    rig.start()
    rig.wait_state("nap-1", "running")
    rig.cli("stop", "nap-1")
    held = rig.wait_state("nap-1", "held")
    assert "request" in held["reason"]
    rig.cli("wait", "nap-1", code=1)
    assert rig.end() == 0
    rig.cli("release", "nap-1")
    rig.start()
    rig.wait_state("nap-1", "running")
    rig.cli("cancel", "nap-1")
    rig.wait_state("nap-1", "cancelled")
    assert rig.show("nap-1")["attempts"][-1]["cause"] == "stopped"
