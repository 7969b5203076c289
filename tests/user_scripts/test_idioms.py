"""Scripts import Keras in many ways: each one is killed and resumed.

The scripts in tests/scripts/idioms are taken from tutorials, kernels and projects. Other tools
that hook `fit` failed with some orders of imports (mlflow#4766, wandb#513).
"""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import ROOT, Rig, wait_for

IDIOMS = ROOT / "tests/scripts/idioms"
FOLLOWED = [
    "tensorflow_first",
    "keras_first",
    "from_tensorflow_import_keras",
    "from_tensorflow_keras_models",
    "layers_only",
    "inside_a_function",
    "helper_module",
    "wrapped",
    "after_a_probe",
    "environment_first",
    "started_again",
    "package.train",
    "legacy_keras",
    "legacy_keras_alone",
]
NOT_FOLLOWED = "this training is not followed; nothing of it is saved."


def spec(name: str, folder: Path, *args: str) -> str:
    what = (
        f'module = "{name}"\nworkdir = "{IDIOMS}"'
        if "." in name
        else f'script = "{IDIOMS / name}.py"\nworkdir = "{folder}"'
    )
    if name == "wrapped":  # by Keras's wrapper for scikit-learn
        what += '\nenv = { KERAS_FINDS = "sklearn" }'
    return (
        f'name = "{job(name)[:-2]}"\n{what}\nargs = {json.dumps(args)}\n'
        '[checkpoint]\nevery = "3 steps"\n[retry]\nbackoff = "200ms..500ms"\n'
    )


def job(name: str) -> str:
    return f"{name.replace('_', '-').replace('.', '-')}-1"


def kill_after_a_checkpoint(rig: Rig, name: str) -> None:
    """Kill the trainer of the first attempt, once it has a checkpoint to resume from."""

    def saved() -> bool:
        assert not rig.entries(job(name), "attempt_ended"), rig.cli("logs", job(name))
        return any(entry["step"] > 0 for entry in rig.entries(job(name), "checkpoint_committed"))

    wait_for(saved, f"{name} commits a checkpoint", 300)
    assert rig.trainer(job(name), 1).send(signal.SIGKILL)


def check_resumed(rig: Rig, name: str) -> None:
    ended = rig.wait_state(job(name), "done", "failed", "held", seconds=300)
    assert "done" == ended["state"], (ended, rig.cli("logs", job(name)))
    receipts = {entry["attempt"]: entry for entry in rig.entries(job(name), "resumed")}
    assert 2 in receipts, "the second attempt was not followed"
    assert receipts[2]["checkpoint"] is not None
    assert receipts[2]["step"] > 0
    assert [] == receipts[2]["inexact"]
    assert [] == receipts[2]["unfollowed"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run one daemon with a job for each idiom, and kill each once."""
    folder = tmp_path_factory.mktemp("idioms")
    rig = Rig(folder / "home")
    waiting = set(FOLLOWED)

    def kill_one() -> bool:
        for name in sorted(waiting):
            if rig.home.run(job(name)).journal.exists() and rig.entries(
                job(name), "attempt_started"
            ):
                kill_after_a_checkpoint(rig, name)
                waiting.discard(name)
        return not waiting

    try:
        for name in FOLLOWED:
            rig.drop(spec(name, folder), f"{name}.toml")
        rig.start("--slots", "2")
        wait_for(kill_one, "each idiom is killed once", 600)
        yield rig
    finally:
        rig.close()


@pytest.mark.slow(90)
@pytest.mark.xdist_group("idioms")  # otherwise every worker would run the trainings of the fixture
@pytest.mark.parametrize("name", FOLLOWED)
def test_an_idiom_resumes(killed: Rig, name: str) -> None:
    """However Keras is imported, the killed training resumes from a checkpoint."""
    check_resumed(killed, name)


# what cannot be followed


def unfollowed(rig: Rig, name: str) -> tuple[dict[str, Any], str]:
    """Wait for a script's end; return its row of `ls --json`, and what it reported."""
    row = rig.wait_state(job(name), "done", "failed", "held", seconds=300)
    assert "done" == row["state"], rig.cli("logs", job(name))
    messages = [
        entry["message"] for entry in rig.entries(job(name), "warned") if entry.get("unfollowed")
    ]
    return row, " ".join(messages)


@pytest.mark.slow(45)
def test_training_that_is_not_followed_is_named(rig: Rig, tmp_path: Path) -> None:
    """In the journal, the log, `ls`, `show` and both kinds of JSON; a saliency map is not."""
    causes = {
        "own_loop": "`train_on_batch` is called outside",
        "own_gradients": "Gradients are computed outside",
        "session_of_v1": "An optimizer of TensorFlow 1 is used",
        "forked_children": "in a forked child process",
    }
    for name in (*causes, "saliency"):
        rig.drop(spec(name, tmp_path), f"{name}.toml")
    rig.start("--slots", "2")
    for name, cause in causes.items():
        row, said = unfollowed(rig, name)
        assert cause in said
        assert NOT_FOLLOWED in said
        assert NOT_FOLLOWED in row["reason"]
        assert row["unfollowed"] is not None and NOT_FOLLOWED in row["unfollowed"]
        assert NOT_FOLLOWED in " ".join(rig.cli("show", job(name)).split())
        assert NOT_FOLLOWED in rig.show(job(name))["attempts"][0]["unfollowed"]
        assert NOT_FOLLOWED in rig.cli("logs", job(name))
    row, said = unfollowed(rig, "saliency")
    assert ("", None) == (said, row["unfollowed"])
    # keras#4653: a fold per child; as stages, all would get the result of the first
    log = rig.cli("logs", job("forked_children"))
    folds = [line for line in log.splitlines() if line.startswith("fold")]
    assert 3 == len({line.split(": ")[1] for line in folds}), folds


@pytest.mark.slow
def test_a_second_keras_in_one_process_is_named(rig: Rig, tmp_path: Path) -> None:
    """The first is followed, whichever that is."""
    rig.drop(spec("two_kinds_of_keras", tmp_path), "two_kinds_of_keras.toml")
    rig.start()
    row, said = unfollowed(rig, "two_kinds_of_keras")
    assert "This process trains with tf_keras 2." in said
    assert "and only the first is followed" in said
    assert NOT_FOLLOWED in row["reason"]
    stages = {one["stage"] for one in rig.entries(job("two_kinds_of_keras"), "resumed")}
    assert stages == {0}


@pytest.mark.slow
def test_the_keras_inside_of_tensorflow_is_named(rig: Rig, tmp_path: Path) -> None:
    """Its `fit` fails in this TensorFlow; it is reported before that."""
    rig.drop(spec("private_keras", tmp_path), "private_keras.toml")
    rig.start()
    row = wait_for(
        lambda: next((row for row in rig.ls() if row["unfollowed"]), None), "it is reported", 300
    )
    assert "tensorflow.python.keras" in row["unfollowed"]
    assert NOT_FOLLOWED in row["unfollowed"]


@pytest.mark.slow  # a start of TensorFlow
def test_stop_does_not_promise_what_is_not_saved(rig: Rig, tmp_path: Path) -> None:
    """Neither the answer nor the later reason and hint mention a checkpoint."""
    rig.drop(spec("own_loop", tmp_path, "600"), "own_loop.toml")
    rig.start()
    running = wait_for(
        lambda: next(
            (row for row in rig.ls() if row["unfollowed"] and row["state"] == "running"), None
        ),
        "the daemon shows that it is not followed",
        300,
    )
    assert NOT_FOLLOWED in running["reason"]
    answer = " ".join(rig.cli("stop", job("own_loop")).split())
    assert "nothing of it is saved" in answer
    assert NOT_FOLLOWED in answer
    assert "It saves" not in answer
    held = rig.wait_state(job("own_loop"), "held")
    assert "stopped on request of " in held["reason"]
    assert "; nothing of it is saved" in held["reason"]
    assert "starts it from the beginning" in held["hint"]


def test_a_hook_that_fails_ends_the_attempt_past_the_importers_except(
    rig: Rig, tmp_path: Path
) -> None:
    """The importer swallows ImportError and AttributeError, as TensorFlow does."""
    (tmp_path / "keras.py").write_text("__version__ = '3.99'\n")  # a Keras without a loop
    script = tmp_path / "train.py"
    script.write_text(
        "try:\n    import keras\nexcept (ImportError, AttributeError):\n    pass\n"
        "print('trains unfollowed')\n"
    )
    rig.drop(f'name = "h"\nscript = "{script}"\n')
    rig.start()
    held = rig.wait_state("h-1", "done", "held", "failed", "waiting")
    assert "held" == held["state"]
    assert "The training loop of keras 3.99 cannot be hooked (AttributeError" in held["reason"]
    assert "nothing was trained" in held["reason"]
    assert "Install Keras" in held["hint"]
    assert "trains unfollowed" not in rig.cli("logs", "h-1")


# detected by the keeper: CPU time

BURN = (
    "import time\nend = time.process_time() + 60\n"
    "while time.process_time() < end:\n    sum(range(10000))\n"
)


@pytest.mark.slow  # computing is reported after seconds
@pytest.mark.parametrize("kind", ["sklearn", "script", "child", "command"])
def test_computing_without_a_training_is_reported(rig: Rig, tmp_path: Path, kind: str) -> None:
    """CPU time with a framework loaded and no stage; also in a child process of the script."""
    library = "sklearn.linear_model" if kind == "sklearn" else "tensorflow"
    (tmp_path / "burn.py").write_text(f"import {library}\n{BURN}")
    child = tmp_path / "child.py"
    child.write_text(
        "import subprocess, sys\nsys.exit(subprocess.call([sys.executable,"
        f" '{tmp_path / 'burn.py'}']))\n"
    )
    burn = f'script = "{tmp_path / "burn.py"}"'
    what = {
        "script": burn,
        "sklearn": burn,
        "child": f'script = "{child}"',
        "command": f'command = ["{sys.executable}", "{tmp_path / "burn.py"}"]\n'
        f'workdir = "{tmp_path}"',
    }[kind]
    rig.drop(f'name = "b"\n{what}\n')
    rig.start(REKINDLE_UNFOLLOWED_AFTER="3")
    row = wait_for(
        lambda: next((row for row in rig.ls() if row["unfollowed"]), None), "it is reported", 300
    )
    assert "No training has been followed so far; nothing is saved." in row["reason"]
    assert row["hint"]
    assert "nothing is saved" in rig.cli("stop", "b-1")
    rig.wait_state("b-1", "held")


@pytest.mark.slow(10)  # it computes for longer than the keeper waits
def test_a_long_preparation_without_a_framework_is_not_reported(rig: Rig, tmp_path: Path) -> None:
    """A tokenizer that runs for an hour is no training."""
    script = tmp_path / "tokenize_all.py"
    script.write_text(BURN.replace("60", "8"))
    rig.drop(f'name = "t"\nscript = "{script}"\n')
    rig.start(REKINDLE_UNFOLLOWED_AFTER="2")
    rig.wait_state("t-1", "done")
    assert [] == rig.entries("t-1", "warned")
