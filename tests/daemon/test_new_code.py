"""A job that waits or is held gets the present code on request, whole or not at all."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, wait_for

from rekindle.daemon.background import Background
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.intake import requests
from rekindle.daemon.source import replacement
from rekindle.daemon.source.present_code import Changes, PresentCode
from rekindle.daemon.source.snapshot import Snapshots, used
from rekindle.jobs.job import Job, NewCode
from rekindle.jobs.saving.checkpoint_store import RestorePoint
from rekindle.state import crash_points, source_tree
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home
from rekindle.state.run import checkpoints, entries, journal
from rekindle.state.run.checkpoints import Position

# Each test is of a kind that trackers and queues of others have reports of: "I fixed the bug in the
# script while the job was queued, and the old code ran" (a queue that freezes code), the reverse of
# it (one that does not), "resume after a code change is silent".


@pytest.fixture
def folder() -> Iterator[Path]:
    """A project that every user of the host may read; pytest's own folders are closed."""
    made = Path(tempfile.mkdtemp(prefix="rekindle-public-", dir="/tmp"))
    made.chmod(0o755)
    (made / "train.py").write_text("import model\nraise SystemExit(model.CODE)\n")
    (made / "model.py").write_text("CODE = 3\n")
    (made / "old.py").write_text("")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "home")
    yield made
    made.close()


def job_file(rig: Rig, job: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(rig.home.run(job).job_file.read_text())
    return read


def assert_agrees(rig: Rig, job: str) -> str:
    """Check that link, `job.json` and ledger name one whole snapshot; return its digest."""
    digest = str(job_file(rig, job)["source"]["digest"])
    run = rig.home.run(job)
    assert os.readlink(run.source) == f"../../sources/{digest[:32]}/tree"
    assert rig.show(job)["spec"]["source"]["digest"] == digest
    assert source_tree.damage(run.source.resolve(), digest) is None
    return digest


@pytest.mark.slow  # three attempts
def test_a_failed_job_runs_the_corrected_script_on_request(rig: Rig, folder: Path) -> None:
    """The whole way: the hint, the changes without the option, with it, and what is recorded."""
    rig.start()
    rig.drop(f'name = "x"\nscript = "{folder}/train.py"\nretry = {{ max_failures = 0 }}\n')
    held = rig.wait_state("x-1", "held")
    assert "`rekindle release x-1 --new-code`" in held["hint"]
    first = assert_agrees(rig, "x-1")
    (folder / "model.py").write_text("CODE = 0\n")
    (folder / "old.py").unlink()
    (folder / "new.py").write_text("")

    said = rig.cli("release", "x-1")
    assert (
        "1 file changed (model.py), 1 file added (new.py), 1 file removed (old.py). This job "
        "continues with the snapshot; `rekindle retry x-1 --new-code` takes the present code."
    ) in said
    failed = rig.wait_state("x-1", "failed")
    assert "`rekindle retry x-1 --new-code`" in failed["hint"]
    assert assert_agrees(rig, "x-1") == first

    said = rig.cli("retry", "x-1", "--new-code")
    assert "It runs the present code from attempt 3 on: 1 file changed (model.py)" in said
    rig.wait_state("x-1", "done")
    second = assert_agrees(rig, "x-1")
    shown = rig.show("x-1")
    assert [a["provenance"]["code"]["digest"] for a in shown["attempts"]] == [first, first, second]
    assert shown["spec"]["new_code"]["attempt"] == 3
    (event,) = [e for e in shown["events"] if e["kind"] == "code_replaced"]
    assert (event["data"]["before"], event["data"]["after"]) == (first, second)
    assert event["data"]["changed"] == ["model.py"]
    assert event["data"]["added"] == ["new.py"]
    assert event["data"]["removed"] == ["old.py"]
    assert "code replaced" in rig.cli("show", "x-1")
    # only the mode differs from the snapshot: nothing is taken back that an attempt has run
    (folder / "model.py").chmod(0o600)
    assert "has not changed" in rig.cli("retry", "--from-scratch", "x-1", "--new-code")
    assert job_file(rig, "x-1")["new_code"]["attempt"] == 3
    rig.wait_state("x-1", "done")
    # the earlier code is kept for the history, and can still be read
    assert sorted(used(rig.home.runs)) == sorted({first[:32], second[:32]})
    kept = rig.home.run("x-1").earlier_code / first[:32]
    assert (kept / "model.py").read_text() == "CODE = 3\n"


def test_a_waiting_job_gets_the_code_and_a_bad_one_is_refused(rig: Rig, folder: Path) -> None:
    """A job that has not started needs no stop; a script that is gone costs the job nothing."""
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    rig.cli("pause")
    rig.drop(f'name = "x"\nscript = "{folder}/train.py"\n')
    rig.drop(f'name = "l"\nscript = "{folder}/train.py"\nlive = true\n', "l.toml")
    rig.wait_state("x-1", "waiting", "queued")
    rig.wait_state("l-1", "waiting", "queued")
    first = assert_agrees(rig, "x-1")
    assert "live = true" in rig.cli("retry", "l-1", "--new-code")
    assert "has not changed" in rig.cli("retry", "x-1", "--new-code")

    text = (folder / "train.py").read_text()
    (folder / "train.py").unlink()
    refused = rig.call("retry", "x-1", "--new-code")
    assert refused.returncode == 1
    assert "The present code cannot be taken: Cannot copy the script" in refused.stderr
    assert rig.show("x-1")["state"] in ("waiting", "queued")
    assert assert_agrees(rig, "x-1") == first

    (folder / "train.py").write_text(text)
    (folder / "model.py").write_text("CODE = 0\n")
    rig.cli("retry", "x-1", "--new-code")
    assert assert_agrees(rig, "x-1") != first
    assert job_file(rig, "x-1")["new_code"]["attempt"] == 1
    # and back again, before any attempt ran it
    (folder / "model.py").write_text("CODE = 3\n")
    assert "has not changed" in rig.cli("retry", "x-1", "--new-code")
    assert assert_agrees(rig, "x-1") == first
    assert job_file(rig, "x-1")["new_code"] is None


@pytest.mark.slow
@pytest.mark.parametrize("point", crash_points.NEW_CODE)
def test_a_daemon_that_dies_while_it_replaces_the_code_leaves_one(
    rig: Rig, folder: Path, tmp_path: Path, point: str
) -> None:
    """The next daemon completes the request: link, `job.json` and ledger name the new code."""
    died = tmp_path / "died"
    daemon = rig.start(**{crash_points.VARIABLE: f"{point}@{died}"})
    rig.drop(f'name = "x"\nscript = "{folder}/train.py"\nretry = {{ max_failures = 0 }}\n')
    rig.wait_state("x-1", "held", "failed")
    first = assert_agrees(rig, "x-1")
    (folder / "model.py").write_text("CODE = 0\n")
    requests.write(rig.home, "release", "x-1", new_code=True)
    assert daemon.wait(60) == -signal.SIGKILL
    half = job_file(rig, "x-1")["source"]["digest"]
    assert (half == first) is (point == "code_noted")
    rig.start()
    rig.wait_state("x-1", "done")
    assert assert_agrees(rig, "x-1") != first
    assert len(rig.entries("x-1", "code_replaced")) == 1


class Run:
    """A home with one accepted job, without a daemon."""

    def __init__(self, home: Home, folder: Path) -> None:
        home.create()
        self.home = home
        Ledger.open(home.ledger).close()
        self.snapshots = Snapshots(home.sources, SourceLimits(), home.root)
        job = Job(
            name="x", id="x-1", claim="c-1", workdir=str(folder), script=str(folder / "train.py")
        )
        source = self.snapshots.take(job, time.time() + 60)
        assert source is not None
        self.job = job.replace(source=source)
        run = home.run("x-1")
        run.root.mkdir()
        run.source.symlink_to(self.snapshots.place(source))
        run.job_file.write_text(self.job.to_json())

    def edited(self, folder: Path) -> Job:
        """Replace the code after an edit, as after attempt 2."""
        (folder / "model.py").write_text("CODE = 0\n")
        self.snapshots.forget()
        source = self.snapshots.take(self.job, time.time() + 60)
        assert source is not None
        ledger = Ledger.open(self.home.ledger)
        changes = Changes(changed=("model.py",))
        replacement.carry_out(self.home, ledger, self.job, source, changes, 2)
        ledger.close()
        return Job.read(self.home.run("x-1").job_file)


def test_links_to_code_survive_a_move_of_the_home(tmp_path: Path, folder: Path) -> None:
    """The present snapshot and the earlier ones; the removal of unused ones finds them, too."""
    run = Run(Home(tmp_path / "home"), folder)
    job = run.edited(folder)
    assert job.new_code is not None
    (tmp_path / "elsewhere").mkdir()
    moved = Home(tmp_path / "elsewhere" / "moved")
    shutil.move(run.home.root, moved.root)
    here = moved.run("x-1")
    assert job.source is not None
    assert source_tree.damage(here.source.resolve(), job.source.digest) is None
    (earlier,) = here.earlier_code.iterdir()
    assert source_tree.damage(earlier.resolve(), job.new_code.before) is None
    assert set(used(moved.runs)) == {p.name for p in moved.sources.iterdir()}


def test_the_link_follows_the_accepted_job(tmp_path: Path, folder: Path) -> None:
    """Whatever a crash left, an attempt starts with the code that `job.json` names."""
    run = Run(Home(tmp_path / "home"), folder)
    link = run.home.run("x-1").source
    old = os.readlink(link)
    job = run.edited(folder)
    new = os.readlink(link)
    assert new != old
    for left in (old, new):
        link.unlink()
        link.symlink_to(left)
        replacement.relink(run.home, job)
        assert os.readlink(link) == new
    link.unlink()
    shutil.copytree(run.home.root / "runs" / "x-1" / old, link)  # a home copied without links
    replacement.relink(run.home, job)
    assert link.is_dir()
    assert not link.is_symlink()


def test_the_receipt_names_new_code_until_a_checkpoint_of_it_exists(tmp_path: Path) -> None:
    """Repeated steps are compared with code that no longer exists, whichever attempt does it."""
    new = NewCode(at=1.0, attempt=3, before="a" * 64, after="b" * 64, changed=["model.py"])

    def point(attempt: int) -> RestorePoint:
        made = checkpoints.commit(
            tmp_path,
            Position(0, attempt, attempt),
            lambda f: (f / checkpoints.STATE).write_bytes(b"x") and None,
            {"attempt": attempt},
        )
        return RestorePoint(made)

    assert RestorePoint(None).new_code(None, 3) is None
    assert RestorePoint(None).new_code(new, 2) is None
    receipt = RestorePoint(None).new_code(new, 3)
    assert receipt is not None
    assert receipt["text"] == (
        "The code was replaced on request before attempt 3: repeated steps are not comparable with "
        "the earlier ones."
    )
    assert (receipt["before"], receipt["after"], receipt["changed"]) == (
        "a" * 64,
        "b" * 64,
        ["model.py"],
    )
    assert point(2).new_code(new, 4) == receipt
    assert point(3).new_code(new, 4) is None


def test_an_older_job_without_the_field_is_read(tmp_path: Path, folder: Path) -> None:
    """Jobs that were accepted before code could be replaced."""
    run = Run(Home(tmp_path / "home"), folder)
    value = json.loads(run.job.to_json())
    del value["new_code"], value["source"]["notes"]
    assert Job.from_json(json.dumps(value)) == run.job
    with_new = json.loads(run.edited(folder).to_json())
    with_new["new_code"]["before"] = "../../x"
    with pytest.raises(Exception, match="cannot name the digest"):
        Job.from_json(json.dumps(with_new))


def test_a_comparison_on_a_slow_disk_ends(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release never waits for a file server; what is not known is said."""
    run = Run(Home(tmp_path / "home"), folder)
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 2)).__next__)
    code = PresentCode(run.snapshots, Background())
    assert code._compare(run.job, time.time()).problem == "it took longer than 3 s"
    monkeypatch.undo()
    busy = PresentCode(run.snapshots, Background(most=0))
    assert busy.changes("r", run.job, time.time()) is None
    late = busy.changes("r", run.job, time.time() - 60)
    assert late is not None
    assert "did not answer within 5 s" in late.problem


def test_requests_for_many_jobs_of_one_script_share_one_look(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand held jobs are released by one command."""
    run = Run(Home(tmp_path / "home"), folder)
    looks = 0
    look = run.snapshots.look

    def count(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return look(*args)

    monkeypatch.setattr(run.snapshots, "look", count)
    code = PresentCode(run.snapshots, Background())
    (folder / "model.py").write_text("CODE = 0\n")
    asked = time.time() - 1
    for n in range(50):
        found = wait_for(lambda n=n: code.changes(f"r{n}", run.job, asked), "compared")
        assert found.changed == ("model.py",)
    assert looks == 1
    assert code._compare(run.job, time.time() + 1).changed == ("model.py",)
    assert looks == 2


def test_the_journal_has_the_replacement_before_the_job_does(tmp_path: Path, folder: Path) -> None:
    """The history of which attempt ran which code is readable, and typed."""
    run = Run(Home(tmp_path / "home"), folder)
    job = run.edited(folder)
    replay = journal.replay(run.home.run("x-1").journal).entries
    (entry,) = entries.code_replaced.among(replay)
    assert job.new_code is not None
    assert (entry["before"], entry["after"], entry["runs_from"]) == (
        job.new_code.before,
        job.new_code.after,
        3,
    )
