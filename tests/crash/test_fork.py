"""A fork begins where another job was, and trains what its own arguments say."""

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lives as driver
import pytest
from lives import Blow, Lives, Result
from rig import Rig, wait_for

from rekindle.daemon.transfer import forked
from rekindle.jobs.job import CheckpointPolicy, Fork
from rekindle.state import crash_points
from rekindle.state.errors import NotDone, NotFound
from rekindle.state.run import checkpoints

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "forked.py"
STEPS = 13  # of an epoch of the second fit
BEGUN = 16  # steps of the first fit
POLICY = CheckpointPolicy(every_epochs=1, keep=30)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lives, Result]:
    lives = Lives(tmp_path_factory.mktemp("parent"), SCRIPT, policy=POLICY)
    return lives, driver.undisturbed(lives)


def fork(parent: Lives, root: Path, *args: str, epoch: int | None = None) -> Lives:
    """Do what the daemon does, with a working folder that both share."""
    made = Lives(root, Path(parent.job.script or ""), args=[*parent.job.args, *args], policy=POLICY)
    at = forked.prepare(parent.run, made.run, epoch)
    made.run.logs.mkdir()
    origin = Fork("token", "lives-0", at.name, at.stage, at.epoch, at.step, at.end)
    made.change(fork=origin, workdir=str(parent.work))
    return made


def files(root: Path) -> dict[str, tuple[str, int]]:
    """Digest everything of a run but the lock, whose holders change."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def result(lives: Lives, out: str) -> list[Any]:
    found: list[Any] = json.loads((Path(lives.job.workdir) / out / "result.json").read_text())
    return found


def end(found: Result, epochs: int) -> dict[str, str]:
    """Return the digests of the end of the second fit."""
    mark = f"e{epochs:04d}-"
    ends = {k: v for k, v in found.digests.items() if k.startswith(mark) and "-f1-end:" in k}
    assert ends
    return ends


def test_without_another_argument_it_is_the_same_training(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    """All of the state comes along: weights, slots, random states, data, callbacks, history."""
    calm, wanted = parent
    made = fork(calm, tmp_path, "--out", "same", epoch=2)
    before = files(calm.run.root)
    found = driver.undisturbed(made)
    assert files(calm.run.root) == before
    assert end(found, 4) == end(wanted, 4)
    (receipt,) = [one for one in found.resumed if one["checkpoint"]]
    assert receipt["checkpoint"] == f"e0002-s{BEGUN + 2 * STEPS:08d}-f1"
    assert receipt["forked"]["job"] == "lives-0"
    assert receipt["lost_steps"] == 0
    assert "the result is not that of a run from the start" in receipt["inexact"][0]
    # the rate was halved twice by then: the script sets what the other's script had set
    assert (
        result(made, "same")
        == result(calm, "out")
        == [[0, 1, 2, 3], [0.05, 0.025, 0.0125, 0.00625], 52]
    )
    # rows of the epochs before the fork are in its own file, and the other's file is as it was
    rows = [(calm.work / out / "log.csv").read_text() for out in ("same", "out")]
    assert rows[0] == rows[1]


def test_a_rate_that_the_script_sets_is_not_replaced(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    """Not in the first attempt, and in a relaunch it is the one that training has made of it."""
    calm, _ = parent
    words = ("--lr", "0.02", "--epochs", "6")
    made = fork(calm, tmp_path / "calm", *words, "--out", "rate", epoch=3)
    found = driver.undisturbed(made)
    halves = [round(0.02 / 2**n, 6) for n in range(3)]
    assert result(made, "rate") == [[*range(6)], [0.05, 0.025, 0.0125, *halves], 78]
    receipt = found.resumed[-1]
    assert any(
        "the learning rate of the optimizer is 0.02, as the script sets it; in lives-0 it was set "
        "to 0.05, and was 0.00625 at the checkpoint" in text
        for text in receipt["changed"]
    )
    assert "epochs was 4 and is 6" in receipt["changed"]

    storm = fork(calm, tmp_path / "storm", *words, "--out", "rate2", epoch=3)
    hit = driver.stormy(
        storm, [Blow("batch", 3), Blow("step", 11, signal.SIGTERM), Blow("batch", 9)]
    )
    assert len(hit.kills) == 3
    assert end(hit, 6) == end(found, 6)
    later = [one for one in hit.resumed if one.get("forked") is None and one["checkpoint"]]
    assert later, "no relaunch resumed from a checkpoint of its own"
    assert not any("as the script sets it" in text for one in later for text in one["changed"])
    assert all("Forked from lives-0" in one["inexact"][0] for one in later)


def test_a_seed_of_its_own_draws_other_numbers(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    calm, wanted = parent
    made = fork(calm, tmp_path, "--seed", "9", "--out", "seed", epoch=2)
    found = driver.undisturbed(made)
    assert end(found, 4) != end(wanted, 4)
    receipt = found.resumed[-1]
    assert any(
        "the random states are those that the script begins with" in t for t in receipt["changed"]
    )
    assert "random state" not in receipt["restored"]
    again = driver.undisturbed(
        fork(calm, tmp_path / "again", "--seed", "9", "--out", "s2", epoch=2)
    )
    assert end(again, 4) == end(found, 4)


def test_all_that_the_arguments_change_is_named(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    calm, _ = parent
    words = ("--batch", "4", "--momentum", "0.9", "--epochs", "5", "--out", "named")
    found = driver.undisturbed(fork(calm, tmp_path / "one", *words, epoch=2))
    said = found.resumed[-1]["changed"]
    for text in (
        "stage 1 was found by its order: the optimizer differs, batch_size was 8 and is 4",
        "momentum of the optimizer was 0.0 and is 0.9",
        "the batch size was 8 and is 4",
        "epochs was 4 and is 5",
    ):
        assert text in said
    other = fork(calm, tmp_path / "two", "--adam", "--out", "adam", epoch=2)
    said = driver.undisturbed(other).resumed[-1]["changed"]
    assert "the optimizer was SGD and is Adam" in said
    assert "the optimizer begins without what the earlier one had learned" in said
    assert result(other, "adam")[2] == 2 * STEPS


def test_another_model_is_refused_before_its_first_step(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    calm, _ = parent
    made = fork(calm, tmp_path, "--units", "16", epoch=2)
    made.start()
    assert made.wait()["cause"] == "permanent"
    (failed,) = made.entries("failed")
    assert "The model is not that of lives-0, from which this job is forked" in failed["message"]
    assert "retry JOB --from-scratch" in failed["hint"]
    assert made.entries("epoch_ended", "checkpoint_committed") == [
        one for one in made.entries("epoch_ended", "checkpoint_committed") if one["attempt"] == 0
    ]


def test_it_trains_on_from_the_end_without_the_other_job(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    """The newest checkpoint is the end of the last fit; nothing of the other job is needed."""
    calm = parent[0].copy(tmp_path / "parent")
    made = fork(calm, tmp_path / "fork", "--epochs", "6", "--out", "on")
    shutil.rmtree(calm.run.root)
    found = driver.undisturbed(made)
    assert result(made, "on")[0] == [*range(6)]
    assert found.resumed[-1]["checkpoint"] == f"e0004-s{BEGUN + 4 * STEPS:08d}-f1-end"
    newest = checkpoints.scan(made.run.checkpoints)[0]
    assert (newest.position.epoch, newest.position.end) == (6, True)
    again = driver.undisturbed(made)
    assert len(again.resumed) == len(found.resumed), "a finished fork has trained more"


@pytest.mark.parametrize("kind", ["new", "old"])
def test_settings_of_legacy_keras_are_those_of_the_script(kind: str, tmp_path: Path) -> None:
    """There rate and momentum may be variables, which are restored otherwise."""
    pytest.importorskip("tf_keras")
    script = SCRIPT.with_name("legacy_rates.py")
    calm = Lives(tmp_path / "calm", script, args=[kind, "0.1", "0.5"], policy=POLICY, cold=True)
    driver.undisturbed(calm)
    made = fork(calm, tmp_path / "fork", epoch=1)
    made.cold = True
    made.change(args=[kind, "0.01", "0.9"])
    receipt = driver.undisturbed(made).resumed[-1]
    assert json.loads((calm.work / "seen.json").read_text()) == [
        [0, 0.1, 0.5],
        [1, 0.01, 0.9],
        [2, 0.01, 0.9],
    ]
    assert "momentum of the optimizer was 0.5 and is 0.9" in receipt["changed"]
    rate = (
        "the learning rate of the optimizer is 0.01, as the script sets it; in lives-0 it was set"
    )
    assert f"{rate} to 0.1" in receipt["changed"]


def test_files_that_both_write_are_left_alone_and_named(
    parent: tuple[Lives, Result], tmp_path: Path
) -> None:
    """The other job may train on: what it wrote after the fork stays, and rows are added."""
    calm = parent[0].copy(tmp_path / "parent")
    before = (calm.work / "out" / "log.csv").read_text()
    found = driver.undisturbed(fork(calm, tmp_path / "fork", epoch=2))
    assert (calm.work / "out" / "log.csv").read_text().startswith(before)
    assert "lives-0 wrote out/log.csv, too" in found.resumed[-1]["changed"], found.resumed[-1]


def test_what_cannot_be_forked_is_refused(parent: tuple[Lives, Result], tmp_path: Path) -> None:
    calm, _ = parent
    made = Lives(tmp_path / "new", SCRIPT)
    with pytest.raises(NotFound, match="no checkpoint after 9 epochs") as missing:
        forked.prepare(calm.run, made.run, 9)
    assert "Checkpoints exist after: 1, 2, 3, 4" in missing.value.hint
    with pytest.raises(NotFound, match="no checkpoint e0009-s00000001"):
        forked.prepare(calm.run, made.run, "e0009-s00000001")
    with pytest.raises(NotFound, match="no good checkpoint"):
        forked.prepare(Lives(tmp_path / "empty", SCRIPT).run, made.run, None)
    loops = Lives(tmp_path / "loop", SCRIPT.with_name("loops.py"), args=["gradient_tape"])
    driver.undisturbed(loops)
    with pytest.raises(NotDone, match="the end of a loop of the script's own"):
        forked.prepare(loops.run, made.run, None)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "home")
    yield made
    made.close()


def test_the_verb_forks_also_a_job_that_runs(rig: Rig, tmp_path: Path) -> None:
    """Through a real daemon that is killed between its steps; one request makes one job."""
    work = tmp_path / "work"
    work.mkdir()
    died = tmp_path / "died"
    text = f'name = "x"\nscript = "{SCRIPT}"\nargs = ["--epochs", "400"]\nworkdir = "{work}"\n'
    rig.drop(f'{text}[checkpoint]\nevery = "epoch"\nkeep = 500\n')
    variable = {crash_points.VARIABLE: f"fork_prepared@{died}"}
    rig.start("--slots", "2", **variable)
    rig.wait_epochs("x-1", 6)
    early = rig.call("fork", "x-1:300")
    assert early.returncode == 3
    assert "no checkpoint after 300 epochs" in early.stderr
    for words, said in (
        (["x-1:last"], "neither a number of epochs nor the name of a checkpoint"),
        (["x-9"], "no job x-9"),
    ):
        assert said in rig.call("fork", *words).stderr
    rig.call("fork", "x-1:2", "--", "--epochs", "3", "--out", "fork")
    wait_for(died.exists, "the daemon dies before the fork is a job")
    for point in ("fork_accepted", ""):
        died = tmp_path / f"died-{point}"
        variable = {crash_points.VARIABLE: f"{point}@{died}"} if point else {}
        rig.start("--slots", "2", **variable)
        if point:
            wait_for(died.exists, "the next one dies after it")
    shown = rig.wait_state("x-2", "done")
    assert [row["id"] for row in rig.ls()] == ["x-1", "x-2"]
    assert shown["attempts"] == 1
    assert json.loads((work / "fork" / "result.json").read_text())[0] == [0, 1, 2]
    page = rig.cli("show", "x-2")
    assert "attempt 1 began from e0002-s" in page
    assert "other than in x-1: epochs was 400 and is 3" in page
    made = rig.cli("fork", "x-1", "--quiet", "--name", "y", "--replace", "--", "--out", "y")
    assert made.strip() == "y-1"
    assert rig.show("y-1")["spec"]["args"] == ["--out", "y"]
    rig.cli("cancel", "x-1", "y-1")
