"""A script that has changed since the checkpoint: refused with the first difference, or allowed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "guarded.py"
LOOP = Path(__file__).parent / "scripts" / "guarded_loop.py"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    lives = Lives(
        tmp_path_factory.mktemp("guard"),
        SCRIPT,
        args=["none"],
        policy=CheckpointPolicy(every_steps=5, keep=99),
    )
    report = lives.run.root / "report.jsonl"
    lives.start(Blow("step", 13), report)
    assert lives.wait()["signal"] == signal.SIGKILL
    report.unlink()
    yield lives


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("wider", "the settings of the layer dense (Dense) have changed"),
        ("deeper", "the model had 4 layers and has 5"),
        ("sgd", "the optimizer was Adam and is SGD"),
        ("schedule", "learning_rate of the optimizer was 0.001 and is {"),
        ("shorter", "the number of batches was 26 and is 20"),
        (
            "callbacks",
            "callbacks were CSVLogger, History and are CSVLogger, EarlyStopping, History",
        ),
    ],
)
def test_a_changed_script_is_refused_and_resumed_once_the_change_is_allowed(
    killed: Lives, tmp_path: Path, change: str, difference: str
) -> None:
    """The message names the first difference, the hint the option; no checkpoint is removed."""
    lives = killed.copy(tmp_path)
    lives.change(args=[change])
    names = sorted(path.name for path in lives.run.checkpoints.iterdir())
    lives.start()
    end = lives.wait()
    assert ("permanent", 78) == (end["cause"], end["exit_code"]), lives.log()
    failed = lives.entries("failed")[-1]
    assert "StateMismatch" == failed["error_type"]
    assert difference in failed["message"]
    assert "--allow-change" in failed["hint"]
    assert names == sorted(path.name for path in lives.run.checkpoints.iterdir())

    lives.change(allow_change=True)
    result = driver.stormy(lives, [])
    receipt = result.resumed[-1]
    assert ("e0000-s00000010", 10) == (receipt["checkpoint"], receipt["step"])
    assert difference in receipt["allowed"]
    # it trained from there to the end: three epochs, the first of them from its middle
    assert [0, 1, 2] == [entry["epoch"] for entry in lives.entries("epoch_ended")]
    last = lives.entries("epoch_ended")[-1]["step"]
    assert last == (60 if change == "shorter" else 78)


def test_a_changed_learning_rate_is_reported_and_that_of_the_checkpoint_is_used(
    killed: Lives, tmp_path: Path
) -> None:
    """It is a variable, which callbacks change, too: restored, and named in each receipt."""
    calm = driver.undisturbed(
        Lives(
            tmp_path / "calm",
            SCRIPT,
            args=["none"],
            policy=CheckpointPolicy(every_steps=5, keep=99),
        )
    )
    lives = killed.copy(tmp_path / "killed")
    lives.change(args=["faster"])
    result = driver.stormy(lives, [Blow("step", 13)])
    expected = (
        "learning rate of the optimizer is 0.002 in the script, but training uses 0.001 from the "
        "checkpoint"
    )
    assert 2 == sum(expected in entry["message"] for entry in lives.entries("warned"))
    assert [False, True, True] == [
        any(expected in text for text in receipt["changed"]) for receipt in result.resumed
    ]
    assert [] == driver.differences(calm.digests, result.digests)


def test_a_changed_number_of_epochs_is_reported_and_includes_finished_ones(
    killed: Lives, tmp_path: Path
) -> None:
    """A person may shorten a training; a script that passes the remaining epochs ends early."""
    lives = killed.copy(tmp_path)
    lives.change(args=["fewer"])
    result = driver.stormy(lives, [])
    assert "epochs was 3 and is 2" in result.resumed[-1]["changed"]
    assert any(
        "fit with 2 epochs; earlier attempts had 3" in entry["message"]
        for entry in lives.entries("warned")
    )
    assert [0, 1] == [entry["epoch"] for entry in lives.entries("epoch_ended")]


def test_a_script_that_catches_every_exception_is_refused_as_well(
    killed: Lives, tmp_path: Path
) -> None:
    """Otherwise it would succeed with an untrained model."""
    lives = killed.copy(tmp_path)
    lives.change(args=["wider", "catch"])
    lives.start()
    assert ("permanent", 78) == ended(lives)
    [failed] = lives.entries("failed")
    assert "StateMismatch" == failed["error_type"]
    assert not (lives.work / "history.json").exists()

    lives.change(args=["none", "catch"])
    for checkpoint in checkpoints.scan(lives.run.checkpoints):
        checkpoint.state.write_bytes(b"")
    lives.start()
    assert ("permanent", 78) == ended(lives)
    assert "CheckpointsUnreadable" == lives.entries("failed")[-1]["error_type"]
    assert not (lives.work / "history.json").exists()


@pytest.mark.parametrize("change", [["24", "8"], ["12", "16"]], ids=["model", "data"])
def test_a_script_that_catches_every_exception_of_a_loop_is_refused(
    change: list[str], tmp_path: Path
) -> None:
    """At the beginning of the loop, and at its data."""
    lives = Lives(tmp_path, LOOP, args=["12", "8"])
    report = lives.run.root / "report.jsonl"
    lives.start(Blow("step", 13), report)
    assert lives.wait()["signal"] == signal.SIGKILL
    lives.change(args=change)
    lives.start()
    assert ("permanent", 78) == ended(lives)
    [failed] = lives.entries("failed")
    assert "StateMismatch" == failed["error_type"]
    assert failed["hint"]
    assert "training failed" not in lives.log()


def ended(lives: Lives) -> tuple[str, int]:
    end = lives.wait()
    return end["cause"], end["exit_code"]
