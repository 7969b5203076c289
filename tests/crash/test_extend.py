"""A finished run trains on for more epochs, and says which of its plans were for fewer."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives
from rig import Rig

from rekindle.jobs.job import Extension
from rekindle.state.run import checkpoints

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "planned.py"
STEPS = 13  # of an epoch


def finished(root: Path, schedule: str, epochs: int = 3) -> Lives:
    lives = Lives(root, SCRIPT, args=[str(epochs), schedule])
    driver.undisturbed(lives)
    return lives


def extend(lives: Lives, epochs: int) -> None:
    """Ask as the daemon does, from the newest checkpoint."""
    at = checkpoints.scan(lives.run.checkpoints)[0].position
    assert at.end
    lives.change(extension=Extension(1.0, lives.attempt + 1, at.stage, epochs, at.epoch))


def test_it_trains_on_from_its_end_and_a_kill_changes_nothing(tmp_path: Path) -> None:
    """As far as nothing was planned for the end, as a longer run; the receipt claims nothing."""
    longer = driver.undisturbed(Lives(tmp_path / "longer", SCRIPT, args=["6", "constant"]))
    calm = finished(tmp_path / "calm", "constant")
    extend(calm, 6)
    wanted = driver.undisturbed(calm)
    receipt = wanted.resumed[-1]
    assert (receipt["step"], receipt["epoch"], receipt["epochs"]) == (3 * STEPS, 3, 6)
    assert receipt["changed"] == ["epochs was 3 and is 6, on request"]
    assert "the result is not that of a run of 6 epochs from the start" in receipt["inexact"][0]
    epochs, history = json.loads((calm.work / "history.json").read_text())
    assert epochs == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "longer" / "work" / "history.json").read_text() == json.dumps(
        [epochs, history]
    )
    assert len((calm.work / "log.csv").read_text().splitlines()) == 1 + 6
    last = f"e0006-s{6 * STEPS:08d}-end"
    ends = {name: text for name, text in wanted.digests.items() if name.startswith(f"{last}:")}
    assert ends
    assert {name for name in ends if longer.digests[name] != ends[name]} == set()

    storm = finished(tmp_path / "storm", "constant")
    extend(storm, 6)
    # the first hits before there is a checkpoint after the end; 6 steps before it, none is new
    found = driver.stormy(
        storm,
        [Blow("batch", 5), Blow("step", 16, signal.SIGTERM), Blow("batch", 10, signal.SIGKILL)],
    )
    assert len(found.kills) == 3
    assert found.resumed[-3]["lost_steps"] > 0
    assert driver.differences(found.digests, wanted.digests) == []


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (
            "cosine",
            "decay_steps=39, alpha=0, warmup_steps=0): it is 0 in all epochs that are added",
        ),
        ("ema", "The optimizer has put its moving averages into the model at the end"),
        ("function", "LearningRateScheduler calls <lambda>, whose `settings.epochs` is 3"),
    ],
)
def test_a_schedule_for_fewer_epochs_is_named(tmp_path: Path, schedule: str, said: str) -> None:
    lives = finished(tmp_path, schedule)
    extend(lives, 5)
    receipt = driver.undisturbed(lives).resumed[-1]
    (named,) = [text for text in receipt["inexact"] if said in text]
    assert "submit the script again with that number" in named


def test_a_generator_that_lasts_over_epochs_goes_on_where_it_was(tmp_path: Path) -> None:
    """The end of a `fit` drops its iterator: the data must not begin again."""
    longer = driver.undisturbed(Lives(tmp_path / "longer", SCRIPT, args=["5", "generator"]))
    lives = finished(tmp_path / "short", "generator")
    extend(lives, 5)
    found = driver.undisturbed(lives)
    last = f"e0005-s{5 * STEPS:08d}-end:"
    ends = {name: text for name, text in found.digests.items() if name.startswith(last)}
    assert ends
    assert {name for name in ends if longer.digests[name] != ends[name]} == set()
    assert not any("is not that of the checkpoint" in text for text in found.resumed[-1]["inexact"])


def test_a_training_of_legacy_keras_trains_on(tmp_path: Path) -> None:
    """It has one iterator for all epochs, which the end of its `fit` drops."""
    pytest.importorskip("tf_keras")
    lives = Lives(
        tmp_path, SCRIPT.with_name("legacy.py"), args=["averages_and_schedules"], cold=True
    )
    driver.undisturbed(lives)
    extend(lives, 5)
    receipt = driver.undisturbed(lives).resumed[-1]
    assert (receipt["epoch"], receipt["epochs"]) == (3, 5)
    assert not any("is not that of the checkpoint" in text for text in receipt["inexact"])
    assert checkpoints.scan(lives.run.checkpoints)[0].name == "e0005-s00000050-end"
    (rows,) = json.loads((lives.work / "histories.json").read_text())
    assert len(rows["loss"]) == 5


def test_a_sequence_of_legacy_keras_that_prepares_its_next_epoch_is_named(tmp_path: Path) -> None:
    """The end of a `fit` calls its on_epoch_end at another place than an epoch in between."""
    pytest.importorskip("tf_keras")
    lives = Lives(tmp_path, SCRIPT.with_name("legacy_sequence.py"), args=["2"], cold=True)
    driver.undisturbed(lives)
    extend(lives, 4)
    receipt = driver.undisturbed(lives).resumed[-1]
    (named,) = [text for text in receipt["inexact"] if "on_epoch_end of Ordered" in text]
    assert "may have other data than those of a longer run" in named


def test_a_run_that_ended_early_trains_on_once_for_each_request(tmp_path: Path) -> None:
    """Up to fewer epochs than the script plans, too; a relaunch after that restores the end."""
    lives = finished(tmp_path, "early", epochs=9)
    extend(lives, 5)
    found = driver.undisturbed(lives)
    assert [(r["epoch"], r["epochs"]) for r in found.resumed] == [(0, 9), (2, 5)]
    assert any(
        "EarlyStopping has ended the training in epoch 2" in text
        for text in found.resumed[-1]["inexact"]
    )
    before = checkpoints.scan(lives.run.checkpoints)[0]
    assert (before.position.epoch, before.position.end) == (3, True)
    again = driver.undisturbed(lives)
    assert len(again.resumed) == 2  # it wrote no receipt: nothing was trained
    assert checkpoints.scan(lives.run.checkpoints)[0] == before


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "home")
    yield made
    made.close()


def test_the_verb_extends_a_job_that_is_done_and_no_other(rig: Rig, tmp_path: Path) -> None:
    """Through a real daemon; each refusal names a command that works."""
    work = tmp_path / "work"
    work.mkdir()
    rig.start()
    spec = f'name = "x"\nscript = "{SCRIPT}"\nargs = ["2", "cosine"]\nworkdir = "{work}"\n'
    rig.drop(spec)
    rig.wait_state("x-1", "starting", "running")
    early = rig.call("extend", "x-1", "--epochs", "4")
    assert early.returncode == 1
    assert "only a job that is done can be extended" in early.stderr
    assert "wait x-1`" in early.stderr
    rig.wait_state("x-1", "done")
    fewer = rig.call("extend", "x-1", "--epochs", "2")
    assert fewer.returncode == 1
    assert "It has trained 2 epochs already." in fewer.stderr
    hint = fewer.stderr.split("`rekindle ")[1].split("`")[0].split()[2:]
    assert hint == ["extend", "x-1", "--epochs", "4"]
    said = rig.cli(*hint)
    assert "It is extended from 2 to 4 epochs on request" in said
    assert "The script is still called with 2 cosine." in said
    assert "not be that of a run of 4 epochs from the start" in said
    rig.wait_state("x-1", "done")
    shown = rig.show("x-1")
    assert [a["receipt"]["step"] for a in shown["attempts"]] == [0, 2 * STEPS]
    assert shown["spec"]["extension"]["epochs"] == 4
    assert shown["progress"]["epoch"] == 4
    assert json.loads((work / "history.json").read_text())[0] == [0, 1, 2, 3]
    text = rig.cli("show", "x-1")
    assert "not exact: The learning rate keeps its schedule CosineDecay(" in text
    # from scratch the spec counts again
    assert "from scratch" in rig.cli("retry", "x-1", "--from-scratch")
    rig.wait_state("x-1", "done")
    assert rig.show("x-1")["spec"]["extension"] is None
    assert json.loads((work / "history.json").read_text())[0] == [0, 1]
