"""`rekindle doctor` never says "Ready" where a waiting job cannot run, and tries as the daemon."""

import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import entered
import pytest
from rig import Rig, environment, wait_for

from rekindle.daemon.checks.finding import Finding
from rekindle.daemon.doctor import doctor, units
from rekindle.daemon.queue_file import QueueFile
from rekindle.jobs.job import Job, Limits, Resources
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def enter(home: Home, name: str, state: JobState = JobState.QUEUED, **fields: object) -> None:
    """Enter a command job, `NAME-1`, into the ledger."""
    values = {"workdir": str(home.root), "command": ["true"], **fields}
    job = Job(name=name, id=f"{name}-1", claim=name, **values)  # type: ignore[arg-type]
    ledger = Ledger.open(home.ledger)
    entered.enter(home, ledger, job)
    if state != JobState.QUEUED:
        ledger.set_state(job.id, state, "A reason.", hint="`rekindle show`", now=time.time())
    ledger.close()


def found(home: Home, check: str) -> list[Finding]:
    return [
        one
        for one in doctor.examine(home, imports=False)
        if one.check == check and one.severity != "ok"
    ]


def test_a_paused_queue_is_an_error_where_a_job_waits(home: Home) -> None:
    QueueFile(home).decide(paused=True, since=time.time())
    assert [one.severity for one in found(home, "queue")] == ["warning"]
    enter(home, "night")
    (finding,) = found(home, "queue")
    assert finding.severity == "error"
    assert "1 job will not run" in finding.what
    assert "`rekindle resume`" in finding.hint


def test_jobs_that_wait_for_what_never_comes_are_errors(home: Home) -> None:
    """Nobody of this name, a job that failed, was cancelled or is held, and circles."""
    for name, state in (
        ("failed", JobState.FAILED),
        ("gone", JobState.CANCELLED),
        ("held", JobState.HELD),
        ("soon", JobState.QUEUED),
        ("done", JobState.DONE),
    ):
        enter(home, name, JobState.QUEUED)
        ledger = Ledger.open(home.ledger)
        if state == JobState.DONE:
            ledger.begin_attempt("done-1", 1, time.time(), [])
            ledger.set_state("done-1", JobState.STARTING, "", now=time.time())
        if state == JobState.FAILED:
            ledger.set_state("failed-1", JobState.STARTING, "", now=time.time())
        if state != JobState.QUEUED:
            ledger.set_state(f"{name}-1", state, "A reason.", hint="x", now=time.time())
        ledger.close()
    for name, after in (
        ("a", "nobody"),
        ("b", "failed-1"),
        ("c", "gone"),
        ("d", "held-1"),
        ("fine", "soon-1"),
        ("fine2", "done-1"),
    ):
        enter(home, name, after=[after])
    enter(home, "x", after=["y-1"])
    enter(home, "y", after=["x-1"])
    errors = [one.what for one in found(home, "jobs") if one.severity == "error"]
    said = "\n".join(errors)
    assert len(errors) == 5, said
    assert "a-1 cannot run: It waits for nobody, and there is no such job." in said
    assert "b-1 cannot run: failed-1, which it waits for, failed." in said
    assert "c-1 cannot run: gone-1, which it waits for, was cancelled." in said
    assert "d-1 cannot run: It waits for held-1, which is held." in said
    assert "It waits for itself: x-1 waits for y-1 waits for x-1." in said


def test_many_jobs_that_cannot_run_are_counted(home: Home) -> None:
    for number in range(8):
        enter(home, f"j{number}", after=["nobody"])
    errors = [one for one in found(home, "jobs") if one.severity == "error"]
    assert len(errors) == 6
    assert "3 more jobs cannot run because of `after`." in errors[-1].what


def test_a_spec_in_the_inbox_that_waits_for_nobody_is_an_error(home: Home) -> None:
    text = f'command = ["true"]\nworkdir = "{home.root}"\n'
    (home.inbox / "a.toml").write_text(f'{text}after = ["b", "nobody"]\n')
    (home.inbox / "b.toml").write_text(text)
    (finding,) = [one for one in found(home, "jobs") if one.severity == "error"]
    assert "a.toml cannot run: It waits for nobody" in finding.what


def test_held_jobs_and_refused_specs_are_named_with_their_reason(home: Home) -> None:
    enter(home, "night", JobState.HELD)
    home.rejected.mkdir(exist_ok=True)
    for name, age in (("new.toml", 60.0), ("old.toml", 30 * 86400.0)):
        (home.rejected / name).write_text("x")
        error = home.rejected / f"{name}.error.txt"
        error.write_text(f"There is no key `epoch`.\n  where: {name}:9\n  hint: Did you mean it?\n")
        os.utime(error, (time.time() - age, time.time() - age))
    (held,) = found(home, "jobs")
    assert "1 job is held and will not run: night-1: A reason." in held.what
    (refused,) = found(home, "spec")
    assert "new.toml was refused" in refused.what
    assert "There is no key `epoch`." in refused.what
    assert "Did you mean it?" in refused.hint


def test_the_summary_and_exit_code_agree_with_the_findings(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """One error: exit code 1, and never the word that a person looks for."""
    from rekindle.daemon.client import cli

    enter(home, "night", after=["nobody"])
    assert cli.main(["--home", str(home.root), "doctor", "--no-imports"]) == 1
    said = capsys.readouterr().out
    assert "Ready for the night" not in said
    assert "Not ready for the night: 2 errors, " in said


def test_a_job_whose_file_is_not_ours_is_named_as_not_tried(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member of the lab may not read job.json; the ledger has the rest of the spec."""
    from rekindle.daemon.checks import tries

    enter(home, "night", after=["nobody"], resources=Resources(gpus=99))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("job.json"))
    own, closed = tries.readable(home, tries.of_jobs(home, [("night-1", JobState.QUEUED)]))
    assert (own, [one.name for one in closed]) == ([], ["night-1"])
    assert "night-1 cannot be tried by user" in found(home, "tries")[0].what
    assert "99 GPUs" in found(home, "GPUs")[0].what


def test_the_daemon_tries_with_what_it_sees_itself(rig: Rig, tmp_path: Path) -> None:
    """Its variables, not those of this shell; the answer says who tried, and a second one comes."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "seen: $FROM_DAEMON, $FROM_SPEC" >&2; exit 1\n')
    python.chmod(0o755)
    script = tmp_path / "train.py"
    script.write_text("import keras\n")
    rig.start(FROM_DAEMON="daemon")
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    rig.cli("pause")
    rig.drop(
        f'name = "night"\nscript = "{script}"\npython = "{python}"\nafter = ["nobody"]\n'
        'env = { FROM_SPEC = "spec" }\n'
    )
    rig.wait_state("night-1", "waiting")
    for _ in range(2):
        shown = json.loads(rig.cli("doctor", "--json", code=1))
        by = {one["check"]: one for one in shown["findings"]}
        assert "cannot run a trainer: seen: daemon, spec" in by["interpreter"]["what"]
        assert "tried by the daemon, as user" in by["tries"]["what"]
    assert not list(rig.home.inbox.glob("*.json")), "no request is left"


def test_on_a_terminal_it_shows_what_it_checks(tmp_path: Path, home: Home) -> None:
    """With `--json`, and in a pipe, there is nothing but the result."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nsleep 0.5; exit 1\n")
    python.chmod(0o755)
    script = tmp_path / "train.py"
    script.write_text("import keras\n")
    enter(home, "night", command=None, script=str(script), python=str(python))
    words = [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), "doctor"]
    leader, follower = pty.openpty()
    shown = subprocess.Popen(words, stdout=follower, env=environment(TERM="xterm"))
    os.close(follower)
    said = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(leader)
    assert shown.wait(60) == 1
    assert b"checking: interpreter 1 of 1" in said
    piped = subprocess.run(
        [*words, "--json"], capture_output=True, text=True, env=environment(), check=False
    )
    assert json.loads(piped.stdout)["fine"] is False
    assert piped.stderr == ""


UNIT = {"manager": "system", "MainPID": "7", "ProtectHome": "no", "ProtectSystem": "strict"}


@pytest.mark.parametrize(
    ("settings", "path", "what", "names", "line"),
    [
        (
            {"ProtectHome": "yes"},
            "/home/ana",
            "does not exist",
            "ProtectHome=yes",
            "ProtectHome=no",
        ),
        (
            {"ProtectHome": "tmpfs"},
            "/root/x",
            "does not exist",
            "ProtectHome=tmpfs",
            "ProtectHome=no",
        ),
        (
            {"ProtectHome": "read-only"},
            "/home/ana",
            "read-only file system",
            "ProtectHome=read-only",
            "ReadWritePaths=/home/ana",
        ),
        ({"ProtectHome": "read-only"}, "/root/x", "read-only", "ProtectHome=read-only", "Home=no"),
        ({}, "/raid", "read-only file system", "ProtectSystem=strict", "ReadWritePaths=/raid"),
        ({"ProtectSystem": "full"}, "/etc/x", "read-only", "ProtectSystem=full", "/etc/x"),
        ({"PrivateTmp": "yes"}, "/tmp/x", "does not exist", "PrivateTmp=yes", "PrivateTmp=no"),
        ({"InaccessiblePaths": "-/raid"}, "/raid/x", "cannot", "InaccessiblePaths", "=;"),
        ({"ReadOnlyPaths": "/data"}, "/data/x", "read-only", "ReadOnlyPaths", "=/data/x"),
    ],
)
def test_the_setting_that_keeps_a_folder_from_the_service_is_named(
    settings: dict[str, str], path: str, what: str, names: str, line: str
) -> None:
    """With the line of a drop-in; tests/systemd follows it."""
    finding = Finding("error", "folder", f"night-1: {what}.", "a hint", path)
    judged = units.in_sandbox(finding, {**UNIT, **settings}, 7, "rekindle", writable_here=True)
    assert f"{names} of rekindle.service keeps user rekindle from it." in judged.what
    assert line in judged.hint


@pytest.mark.parametrize(
    ("settings", "pid", "path", "what"),
    [
        ({"ProtectHome": "yes"}, 8, "/home/ana", "does not exist"),  # not the service's daemon
        ({}, 7, "/raid", "does not exist"),
        ({}, 7, "/raid", "user rekindle has no permission on /raid"),
        ({"ReadWritePaths": "/tmp -/raid"}, 7, "/raid/x", "read-only file system"),  # of the disk
        ({"ProtectHome": "yes"}, 7, "", "anything"),
    ],
)
def test_what_the_unit_does_not_cause_is_left_as_it_was_found(
    settings: dict[str, str], pid: int, path: str, what: str
) -> None:
    finding = Finding("error", "folder", what, "a hint", path)
    for unit in ({**UNIT, **settings}, None):
        judged = units.in_sandbox(finding, unit, pid, "rekindle", writable_here=False)
        assert judged == finding


def test_a_folder_that_is_newer_than_the_service_needs_its_restart() -> None:
    unit = {**UNIT, "ReadWritePaths": "/tmp -/raid"}
    finding = Finding("error", "folder", "/raid/x: read-only file system.", "a hint", "/raid")
    judged = units.in_sandbox(finding, unit, 7, "rekindle", writable_here=True)
    assert "did not exist when rekindle.service was started" in judged.what
    assert judged.hint == "systemctl restart rekindle.service (trainings continue)."


def test_a_queue_file_that_cannot_be_read_ends_no_other_check(home: Home) -> None:
    enter(home, "night", after=["nobody"])
    home.queue.write_text("{")
    assert found(home, "queue")[0].severity == "error"
    assert "It waits for nobody" in found(home, "jobs")[0].what


def test_a_job_without_time_for_another_epoch_is_named(home: Home) -> None:
    """From the last epoch that it has finished."""
    for name, most in (("short", 10.0), ("enough", 1000.0)):
        enter(home, name, JobState.QUEUED, limits=Limits(max_runtime=most))
        ledger = Ledger.open(home.ledger)
        ledger.begin_attempt(f"{name}-1", 1, time.time(), [])
        epochs = [
            {"kind": "epoch_ended", "t": 1.0, "attempt": 1, "stage": 0, "epoch": n, "seconds": 60.0}
            for n in range(3)
        ]
        ledger.ingest(f"{name}-1", [{**one, "step": 1, "logs": {}} for one in epochs], 0)
        ledger.close()
    (finding,) = found(home, "jobs")
    assert finding.severity == "warning"
    assert "short-1 will be held within its next epoch" in finding.what
    assert "10 s of its `max_runtime` are left, and the last epoch took 1 min 0 s." in finding.what


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to ask as another user")
def test_a_member_of_the_lab_gets_no_error_for_what_only_the_owner_may(home: Home) -> None:
    """The daemon's user may write the home; that this one may not keeps no job from running."""
    code = (
        "import os, json, sys\nfrom pathlib import Path\n"
        "from rekindle.daemon.doctor import doctor\nfrom rekindle.state.paths import Home\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "found = doctor.examine(Home(Path(sys.argv[1])), imports=False)\n"
        "print(json.dumps([[f.severity, f.check, f.what] for f in found]))"
    )
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        place = Home(Path(name) / "home")
        place.create()
        place.root.chmod(0o755)
        place.inbox.chmod(0o2775)
        os.chown(place.inbox, -1, 65534)
        done = subprocess.run(
            [sys.executable, "-c", code, str(place.root)],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert ["disk speed"] == [check for severity, check, _ in said if check == "disk speed"]
    errors = [check for severity, check, _ in said if severity == "error"]
    assert errors == ["daemon"], said
