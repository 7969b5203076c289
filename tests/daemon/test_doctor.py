"""`rekindle doctor` finds what would make jobs fail at night, with a hint for each."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import entered
import pytest
from rig import Rig, wait_for

from rekindle.daemon.checks.finding import Finding
from rekindle.daemon.doctor import doctor, units
from rekindle.jobs.job import CheckpointPolicy, Job, Resources
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Position


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def errors(home: Home, check: str, *, imports: bool = False) -> list[Finding]:
    found = [f for f in doctor.examine(home, imports=imports) if f.check == check]
    assert found, f"no finding about {check}"
    assert all(f.hint for f in found if f.severity != "ok"), "each finding has a hint"
    return [f for f in found if f.severity == "error"]


def waiting_job(home: Home, **fields: Any) -> Job:
    """Enter a queued job into the ledger."""
    job = Job(
        **{
            "name": "night",
            "id": "night-1",
            "workdir": str(home.root),
            "claim": "c",
            "script": "/x.py",
            **fields,
        }
    )
    ledger = Ledger.open(home.ledger)
    entered.enter(home, ledger, job)
    ledger.close()
    return job


def test_a_served_home_with_nothing_wrong_is_ready(tmp_path: Path) -> None:
    """Exit code 0, beside a real daemon; no file stays in the home."""
    rig = Rig(tmp_path / "home")
    try:
        rig.start()
        wait_for(rig.home.daemon_status.exists, "the daemon is up")
        wait_for(rig.home.ledger.exists, "the ledger is there")
        before = set(rig.home.root.iterdir())
        shown = json.loads(rig.cli("doctor", "--json"))
        assert shown["fine"] is True, shown
        assert {
            "permissions",
            "disk",
            "disk speed",
            "clock",
            "inotify",
            "systemd",
            "ledger",
            "GPUs",
            "daemon",
            "configuration",
        } <= {f["check"] for f in shown["findings"]}
        assert {p.name for p in set(rig.home.root.iterdir()) - before} <= {
            "ledger.db-wal",
            "ledger.db-shm",
        }
        assert "Ready for the night" in rig.cli("doctor")
    finally:
        rig.close()
    said = rig.cli("doctor", code=1)
    assert "No daemon serves this home" in said
    assert "Not ready for the night" in said


def test_no_home_is_one_clear_finding(tmp_path: Path) -> None:
    """Not one finding for each check that fails as a consequence."""
    found = list(doctor.examine(Home(tmp_path / "none")))
    assert [f.severity for f in found] == ["error"]
    assert "--home" in found[0].hint


def test_permissions_that_are_too_wide_are_found(home: Home) -> None:
    """An inbox for all users, a ledger that a group may write, secrets that all may read."""
    waiting_job(home)
    assert errors(home, "permissions") == []
    home.inbox.chmod(0o2777)
    home.ledger.chmod(0o664)
    home.run("night-1").job_file.chmod(0o644)
    found = [f.what for f in errors(home, "permissions")]
    assert len(found) == 3
    assert any("Every user" in what for what in found)
    assert any("ledger" in what for what in found)
    assert any("secrets" in what for what in found)
    for finding in errors(home, "permissions"):
        subprocess.run(finding.hint.partition(",")[0], shell=True, check=True)
    assert errors(home, "permissions") == []


def test_an_invalid_configuration_and_an_invalid_spec_are_found(home: Home) -> None:
    """The daemon would refuse them at night."""
    home.config.write_text("slotz = 1\n")
    (home.inbox / "x.toml").write_text('script = "/nowhere.py"\n')
    assert "slotz" in errors(home, "configuration")[0].what
    assert "x.toml will be refused" in errors(home, "spec")[0].what


def test_a_damaged_ledger_and_a_clock_set_back_are_found(home: Home) -> None:
    """The other checks continue."""
    waiting_job(home)
    ledger = Ledger.open(home.ledger)
    ledger.add_event("tomorrow", at=time.time() + 86400)
    ledger.close()
    assert "in the future" in errors(home, "clock")[0].what
    aside = home.ledger.rename(home.root / "aside.db")
    assert "gone" in errors(home, "ledger")[0].what
    aside.rename(home.ledger)
    for suffix in ("-wal", "-shm"):
        home.ledger.with_name(home.ledger.name + suffix).unlink(missing_ok=True)
    home.ledger.write_bytes(b"x" * 8192)
    found = list(doctor.examine(home, imports=False))
    assert any(f.check == "ledger" and f.severity == "error" for f in found)
    assert any(f.check == "inotify" for f in found)


def test_a_disk_too_small_for_the_checkpoints_to_come_is_found(home: Home) -> None:
    """Computed from the size of the job's checkpoint and the number its spec keeps."""
    job = waiting_job(home, checkpoint=CheckpointPolicy(keep=2))
    checkpoints.commit(
        home.run(job.id).checkpoints,
        Position(0, 1, 10),
        lambda f: (f / checkpoints.STATE).write_bytes(bytes(10**6)) and None,
        {},
    )
    assert errors(home, "disk") == []
    space = os.statvfs(home.root)
    too_many = 2 * space.f_bavail * space.f_frsize // 10**6
    waiting_job(home, checkpoint=CheckpointPolicy(keep=too_many))
    found = errors(home, "disk")
    assert "need about" in found[0].what
    assert "prune" in found[0].hint


def test_resources_that_the_host_lacks_are_found(home: Home) -> None:
    """More GPUs or memory than the host has, a folder that is not mounted."""
    waiting_job(home, workdir="/not/mounted", resources=Resources(gpus=99, memory=2**60))
    assert "99 GPUs" in errors(home, "GPUs")[0].what
    assert "may use" in errors(home, "memory")[0].what
    assert "/not/mounted" in errors(home, "folder")[0].what


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("/nowhere/python", "cannot be run"),
        ("/bin/true", "cannot run a trainer"),
        ("bare", "cannot import Keras"),
    ],
)
def test_an_interpreter_that_cannot_train_is_found(
    home: Home, tmp_path: Path, python: str, says: str
) -> None:
    """Missing, not a Python, or one without Keras."""
    if python == "bare":
        import venv

        venv.create(tmp_path / "bare", symlinks=True)
        python = str(tmp_path / "bare" / "bin" / "python")
    waiting_job(home, python=python)
    found = errors(home, "interpreter", imports=True)
    assert says in found[0].what
    assert "night-1" in found[0].what


@pytest.mark.slow  # a start of TensorFlow
def test_an_interpreter_with_keras_is_reported_with_its_versions(home: Home) -> None:
    """Keras is really imported, as in the trainer."""
    waiting_job(home, python=sys.executable)
    found = [f for f in doctor.examine(home) if f.check == "interpreter"]
    assert [f.severity for f in found] == ["ok"]
    assert "keras 3" in found[0].what
    assert "resumed to the batch" in found[0].what


GOOD = {
    "manager": "system",
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "KillMode": "process",
    "TimeoutStopUSec": "3min",
    "Restart": "always",
    "StartLimitIntervalUSec": "0",
    "Linger": "",
}


def units_with(**changes: str) -> Iterator[tuple[str, str, str]]:
    return iter(units.judge({**GOOD, **changes}, 120.0))


@pytest.mark.parametrize(
    ("changes", "severity", "says"),
    [
        ({}, "ok", "set up correctly"),
        ({"KillMode": "control-group"}, "error", "kills the trainings"),
        ({"TimeoutStopUSec": "1min 30s"}, "warning", "90 s"),
        ({"TimeoutStopUSec": "infinity"}, "ok", "set up"),
        ({"Restart": "no"}, "error", "not restarted"),
        ({"StartLimitIntervalUSec": "10s"}, "warning", "start limit"),
        ({"UnitFileState": "disabled"}, "error", "not enabled"),
        ({"manager": "user", "Linger": "no"}, "error", "Lingering"),
        ({"manager": "user", "Linger": "yes"}, "ok", "user manager"),
    ],
)
def test_harmful_settings_of_the_unit_are_found(
    changes: dict[str, str], severity: str, says: str
) -> None:
    """Each alone, as systemctl shows it; and none for a correct unit."""
    found = list(units_with(**changes))
    assert [one[0] for one in found] == [severity]
    assert says in found[0][1]
    assert found[0][2] or severity == "ok"


def test_a_missing_systemd_or_service_is_a_warning() -> None:
    """Not an error: a home of one user needs no service."""
    for unit in (None, {"manager": ""}):
        assert units.judge(unit, 1.0)[0][0] == "warning"


def test_time_spans_of_systemctl_are_parsed() -> None:
    """As systemctl prints them."""
    assert units._seconds("1h 2min 3s 500ms") == 3723.5
    assert units._seconds("") is None
    assert units._seconds("infinity") is None
