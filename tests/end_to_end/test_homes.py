"""A newer rekindle serves the home of an older one, and its jobs resume exactly.

tests/homes holds homes that tests/homes/make.py made with older versions, named by version.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from rig import ROOT, Rig, environment, wait_for

from rekindle.state.paths import Home

HOMES = sorted((ROOT / "tests" / "homes").glob("*.tar.gz"))
OLD = "d8e87d5"
"""The commit before which nothing was released."""


@pytest.fixture(params=HOMES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Build a rig over a golden home, moved to a writable folder."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="tar")
    before = json.loads((tmp_path / "made.json").read_text())["root"]
    for file in [*tmp_path.glob("home/runs/*/job.json"), *tmp_path.glob("home/runs/*/spec.toml")]:
        file.write_text(file.read_text().replace(before, str(tmp_path)))
    with sqlite3.connect(tmp_path / "home" / "ledger.db") as ledger:
        ledger.execute(
            "UPDATE jobs SET run_dir = replace(run_dir, ?, ?), spec = replace(spec, ?, ?)",
            (before, str(tmp_path)) * 2,
        )
    ledger.close()
    return Rig(tmp_path / "home")


def test_verbs_read_an_older_home_before_its_ledger_is_migrated(old: Rig) -> None:
    """`ls`, `show` and `verify` right after the upgrade; the ledger is not migrated yet."""
    try:
        assert {
            "done-1": "done",
            "held-1": "held",
            "interrupted-1": "running",
            "half-1": "running",
        } == {row["id"]: row["state"] for row in old.ls()}
        for job in ("done-1", "held-1", "interrupted-1", "half-1"):
            shown = old.show(job)
            assert 1 == len(shown["attempts"])
            assert shown["epochs"]
            assert shown["checkpoints"]
            assert job in old.cli("show", job)
            # its attempts have recorded no times
            assert 0 < shown["time"]["unknown"] <= shown["time"]["held"]
            assert shown["time"]["losses"]["repeat"] is None
            assert shown["time"]["ettr"] is shown["time"]["useful"] is None
            assert "how much of it was useful is unknown" in old.cli("show", job)
        assert "Traceback" not in old.cli("verify", code=None)
    finally:
        old.close()


@pytest.mark.slow(30)  # four trainings with TensorFlow
def test_jobs_of_an_older_home_resume_exactly(old: Rig, tmp_path: Path) -> None:
    """The held, the interrupted and the half-saved job end with the result of the done job."""
    try:
        stand = {
            job: max(entry["step"] for entry in old.entries(job, "checkpoint_committed"))
            for job in ("held-1", "interrupted-1", "half-1")
        }
        old.start("--slots", "2")
        wait_for(lambda: json.loads(old.cli("ls", "--json"))["daemon"], "the daemon serves it")
        old.cli("release", "held-1")
        work = tmp_path / "work"
        old.drop(
            f'name = "again"\nscript = "{work / "train.py"}"\nworkdir = "{work}"\nseed = 5\n'
            'args = ["again.json"]\n[checkpoint]\nevery = "3 steps"\n'
        )
        for job, step in stand.items():
            assert "done" == old.wait_state(job, "done", "failed", seconds=300)["state"], old.cli(
                "logs", job
            )
            receipt = next(e for e in old.entries(job, "resumed") if e["attempt"] == 2)
            assert receipt["checkpoint"] is not None
            assert receipt["step"] >= min(step, 12)
        assert not list(tmp_path.glob("home/runs/half-1/checkpoints/.tmp-*"))
        assert "done" == old.wait_state("again-1", "done", "failed", seconds=300)["state"]
        expected = json.loads((work / "done.json").read_text())
        # other processors round differently, those of one name among them
        rounds_alike = expected == json.loads((work / "again.json").read_text())
        for name in ("held", "interrupted", "half"):
            found = json.loads((work / f"{name}.json").read_text())
            assert len(expected["loss"]) == len(found["loss"])
            assert expected["loss"] == pytest.approx(found["loss"], rel=1e-4)
            if rounds_alike:
                assert expected == found
    finally:
        old.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Check out the code of the older version from the history."""
    there = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", OLD], capture_output=True)
    if there.returncode:
        pytest.skip(f"the history has no {OLD}")
    folder = tmp_path / "checkout"
    folder.mkdir()
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", OLD], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


@pytest.mark.slow  # two daemons, one after the other
def test_a_keeper_of_an_older_version_serves_the_daemon_of_this_one(
    checkout: Path, tmp_path: Path
) -> None:
    """An upgrade during an attempt: it is adopted, stays the only one, and can be stopped."""
    home = Home(tmp_path / "home")
    home.create()
    rig = Rig(home.root)
    out = tmp_path / "out.txt"
    rig.drop(
        'name = "old"\ncommand = ["sh", "-c", "trap \'exit 75\' TERM; echo $$ >> '
        f'{out}; while :; do sleep 0.1; done"]\nworkdir = "{tmp_path}"\n'
    )
    before = subprocess.Popen(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), "run"],
        env=environment(PYTHONPATH=str(checkout / ".importroot")),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(out.exists, "the older daemon starts the job", 120)
        keeper = wait_for(lambda: rig.entries("old-1", "attempt_started"), "it is recorded")[0]
        before.send_signal(signal.SIGHUP)  # as in an upgrade: the attempt keeps running
        assert 0 == before.wait(60)
        rig.start()
        wait_for(
            lambda: any(
                event["kind"] == "attempt_adopted" for event in rig.show("old-1")["events"]
            ),
            "it is adopted",
        )
        assert 1 == len(out.read_text().split())
        rig.cli("stop", "old-1")
        held = rig.wait_state("old-1", "held")
        assert "stopped on request" in held["reason"]
        assert not Path(f"/proc/{keeper['trainer_pid']}").exists()
        rig.cli("release", "old-1")
        wait_for(lambda: len(out.read_text().split()) == 2, "the next attempt starts")
    finally:
        if before.poll() is None:
            before.kill()
            before.wait()
        rig.close()
