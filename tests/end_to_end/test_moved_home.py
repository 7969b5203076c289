"""A home that was moved, or is used by another path, serves its jobs from where it is now.

Kinds of source: tools that store absolute paths in their database and lose every log after a `mv`
(virtual environments, MLflow's artifact URIs, Airflow's log folders).
"""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from rig import Rig

COUNT = (
    'cd "$REKINDLE_RUN_DIR/checkpoints"; n=$((REKINDLE_INITIAL_EPOCH + 1)); echo "epoch $n"; '
    'mkdir .tmp-x; echo x > .tmp-x/weights; mv .tmp-x $(printf "e%04d-s%08d" $n $n); '
    "[ $n -ge 2 ] && exit 0; exit 3"
)
HELD = "[retry]\nmax_failures = 1\n"


def drop(rig: Rig, name: str, *more: str, script: str = COUNT) -> None:
    argv = json.dumps(["sh", "-c", script])
    text = "\n".join((f'name = "{name}"', f"command = {argv}", 'workdir = "/tmp"', *more))
    rig.drop(text + "\n", f"{name}.toml")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a held and a done job, at a path that is gone."""
    folder = tmp_path_factory.mktemp("moved")
    rig = Rig(folder / "home")
    try:
        drop(rig, "held", HELD)
        drop(rig, "done", script="echo from the log")
        assert rig.start("--until-idle").wait(60) == 0
    finally:
        rig.close()
    (folder / "home").rename(folder / "home2")
    return folder / "home2"


@pytest.fixture
def moved(left: Path, tmp_path: Path) -> Rig:
    """The home at another place."""
    shutil.copytree(left, tmp_path / "home2", symlinks=True)
    return Rig(tmp_path / "home2")


pytestmark = pytest.mark.xdist_group("moved_home")  # a home for all, not one for each worker


def test_every_verb_finds_the_runs_of_a_moved_home(moved: Rig, left: Path, tmp_path: Path) -> None:
    """Without a daemon, and though the ledger's column names the old place."""
    with sqlite3.connect(moved.home.ledger) as ledger:
        stored = {row[0] for row in ledger.execute("SELECT run_dir FROM jobs")}
    ledger.close()
    assert stored == {str(left.with_name("home") / "runs" / job) for job in ("held-1", "done-1")}
    assert moved.cli("logs", "done-1") == "from the log\n"
    for job in ("held-1", "done-1"):
        assert moved.show(job)["run_dir"] == str(moved.home.run(job).root)
        assert str(moved.home.run(job).root) in moved.cli("show", job).replace("\n", "")
    assert {row["run_dir"] for row in moved.ls()} == {
        str(moved.home.run(job).root) for job in ("held-1", "done-1")
    }
    (checkpoint,) = moved.show("held-1")["checkpoints"]
    assert Path(checkpoint["path"]).is_dir()
    assert "sound" in moved.cli("verify")
    moved.cli("export-run", "held-1", "--to", str(tmp_path / "held.tar"))
    assert (tmp_path / "held.tar").stat().st_size > 0


def test_jobs_of_a_moved_home_are_resumed(moved: Rig) -> None:
    """A held job from its checkpoint; `after` names a job from before the move."""
    drop(moved, "later", 'after = ["held-1"]', script="true")
    try:
        moved.start()
        moved.wait_state("later-1", "waiting")
        moved.cli("release", "held-1")
        moved.wait_state("later-1", "done")
    finally:
        moved.close()
    assert {row["id"]: row["state"] for row in moved.ls()} == {
        "held-1": "done",
        "done-1": "done",
        "later-1": "done",
    }
    assert "epoch 2" in moved.cli("logs", "held-1")


def test_a_home_by_another_path_shows_the_path_that_it_is_used_by(
    moved: Rig, tmp_path: Path
) -> None:
    """A symbolic link here; a bind mount is the same to a process."""
    (tmp_path / "link").symlink_to(moved.home.root)
    link = Rig(tmp_path / "link")
    assert link.show("done-1")["run_dir"] == str(tmp_path / "link" / "runs" / "done-1")
    assert link.cli("logs", "done-1") == "from the log\n"


def test_after_takes_the_id_of_a_job_with_the_longest_name(rig: Rig) -> None:
    """An id is longer than its name by the number."""
    name = "n" * 64
    drop(rig, name, script="true")
    drop(rig, "dep", f'after = ["{name}-1"]', script="true")
    assert rig.start("--until-idle").wait(60) == 0
    assert {row["id"]: row["state"] for row in rig.ls()} == {f"{name}-1": "done", "dep-1": "done"}
