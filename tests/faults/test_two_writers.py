"""One run has one writer, whatever becomes of keepers, locks and directories.

Public reports of the kind, each rebuilt below: Supervisor/supervisor#1101 (a killed supervisor's
grandchildren train on), tox-dev/filelock#27 (a removed lock file is locked twice),
stellar/stellar-core#652 (a restarted container gives the recorded pid to another process).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nights import Night
from rig import ROOT, environment, wait_for

from rekindle.jobs.process import Identity

pytestmark = pytest.mark.faults

WORKER = """
import os, time
while True:
    with open("lines.txt", "a") as file:
        file.write(f"{os.environ['REKINDLE_ATTEMPT']} {os.getpid()}\\n")
    time.sleep(0.05)
"""
LAUNCHER = "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, 'worker.py']))\n"


def lines(night: Night) -> list[tuple[int, int]]:
    """(attempt, pid) of each line that the workers wrote, in order."""
    file = night.work / "lines.txt"
    found = file.read_text().splitlines() if file.exists() else []
    return [(int(a), int(p)) for a, _, p in (line.partition(" ") for line in found)]


def alive(pid: int) -> bool:
    return Identity.of(pid) is not None


def keeper(night: Night, job: str = "job-1", attempt: int = 1) -> Identity:
    night.trainer(job, attempt)
    entry = next(e for e in night.entries(job, "attempt_started") if e["attempt"] == attempt)
    return Identity(entry["keeper_pid"], entry["keeper_start"], entry["boot_id"])


def submit(night: Night, kind: str, *, spec: str = "") -> None:
    """A job whose training runs in a process that its script starts, as torchrun does."""
    night.work.mkdir(parents=True, exist_ok=True)
    (night.work / "worker.py").write_text(WORKER)
    (night.work / "launcher.py").write_text(LAUNCHER)
    if kind == "command":
        night.submit_command("job", "launcher.py", spec=spec)
    else:
        night.drop(
            f'name = "job"\nscript = "{night.work}/launcher.py"\n'
            f'[retry]\nbackoff = "100ms..200ms"\n{spec}',
            "job.toml",
        )


@pytest.fixture(autouse=True)
def _no_worker_is_left(night: Night) -> Iterator[None]:
    """The old code leaves them; nothing else knows their pids."""
    yield
    for pid in {pid for _, pid in lines(night)}:
        try:
            if b"worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


@pytest.mark.parametrize("kind", ["command", "script"])
def test_a_training_in_a_process_of_its_own_ends_before_the_next_attempt(
    night: Night, kind: str
) -> None:
    """SIGKILL of the keeper leaves it alone, without lock and without parent."""
    submit(night, kind)
    night.start()
    worker = wait_for(lambda: lines(night), "the worker trains")[0][1]
    assert keeper(night).send(signal.SIGKILL)
    wait_for(lambda: any(attempt == 2 for attempt, _ in lines(night)), "attempt 2 trains")
    assert not alive(worker)
    written = [attempt for attempt, _ in lines(night)]
    assert written == sorted(written), "attempt 1 wrote beside attempt 2"
    events = night.show("job-1")["events"]
    assert worker in [e["data"]["pid"] for e in events if e["kind"] == "leftover_killed"]
    assert night.end() == 0
    assert not alive(lines(night)[-1][1])


def test_a_worker_without_a_keeper_ends_while_no_daemon_saw_its_end(night: Night) -> None:
    """Daemon and keeper are killed: the next daemon ends the worker before the next attempt."""
    submit(night, "command")
    night.start()
    worker = wait_for(lambda: lines(night), "the worker trains")[0][1]
    night.end(signal.SIGKILL)
    assert keeper(night).send(signal.SIGKILL)
    assert alive(worker)
    night.start()
    wait_for(lambda: any(attempt == 2 for attempt, _ in lines(night)), "attempt 2 trains")
    assert not alive(worker)
    written = [attempt for attempt, _ in lines(night)]
    assert written == sorted(written)
    # the worker lived: nothing had ended the whole container
    assert night.show("job-1")["attempts"][0]["cause"] == "lost"
    assert night.end() == 0


def test_removing_the_lock_of_a_run_frees_nothing(night: Night) -> None:
    """The directory is locked beside it, and the keeper lives."""
    folder = night.submit("job", args=f"--steps 400 --wait-for {night.work}/go")
    night.start("--slots", "2")
    night.step("job-1", 3)
    trainer = night.trainer("job-1", 1)
    night.home.run("job-1").lock.unlink()
    # ticks go by: another job comes and goes
    night.submit("other", args="--steps 3")
    night.wait_state("other-1", "done")
    night.end(signal.SIGKILL)
    night.home.run("job-1").lock.unlink(missing_ok=True)
    night.start("--slots", "2")
    night.submit("third", args="--steps 3")
    night.wait_state("third-1", "done")
    assert trainer.alive()
    assert len(night.show("job-1")["attempts"]) == 1
    assert night.end() == 0
    assert not trainer.alive()
    assert folder.exists()


def test_removing_the_lock_of_the_home_frees_nothing(night: Night) -> None:
    """A second daemon is refused, and names the first one."""
    first = night.start()
    wait_for(night.home.daemon_status.exists, "the daemon is up")
    night.home.daemon_lock.unlink()
    second = subprocess.run(
        [
            sys.executable,
            "-m",
            "rekindle.daemon",
            "--home",
            str(night.home.root),
            "run",
            "--until-idle",
        ],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert second.returncode == 4, second.stderr
    assert str(first.pid) in second.stderr
    refused = subprocess.run(
        [
            sys.executable,
            "-m",
            "rekindle.daemon",
            "--home",
            str(night.home.root),
            "verify",
            "--rebuild",
        ],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert refused.returncode == 4, refused.stderr
    assert night.end() == 0
    # what ended by itself leaves nothing that could refuse the next one
    night.until_idle()


def test_a_pid_of_before_that_another_process_has_now_refuses_no_daemon(night: Night) -> None:
    """As in a container that was restarted: pids are counted from 1 once more."""
    night.until_idle()
    me = Identity.of(os.getppid())
    assert me is not None
    night.home.daemon_status.write_text(
        json.dumps(
            {
                "format": 1,
                "pid": me.pid,
                "start": me.start - 1,
                "boot_id": me.boot_id,
                "version": "0",
                "started": time.time(),
                "home": str(night.home.root),
            }
        )
    )
    night.until_idle()


def test_a_run_directory_that_was_restored_under_its_training_has_one_writer(night: Night) -> None:
    """Its locks are free then; the keeper that lives counts."""
    submit(night, "command")
    daemon = night.start()
    worker = wait_for(lambda: lines(night), "the worker trains")[0][1]
    wait_for(lambda: night.states().get("job-1") == "running", "the ledger knows of it")
    run = night.home.run("job-1")
    aside = night.work / "backup"
    daemon.send_signal(signal.SIGSTOP)
    shutil.copytree(run.root, aside, symlinks=True)
    shutil.rmtree(run.root)
    os.rename(aside, run.root)
    daemon.send_signal(signal.SIGCONT)
    night.request("stop", "job-1")
    night.wait_state("job-1", "held")
    assert {attempt for attempt, _ in lines(night)} == {1}
    assert not alive(worker)
    assert night.end() == 0


def test_a_copy_of_a_home_leaves_the_trainings_of_the_original_alone(
    night: Night, tmp_path: Path
) -> None:
    """Its records name keepers that live, and a daemon that serves; neither is its own."""
    submit(night, "command")
    night.start()
    worker = wait_for(lambda: lines(night), "the worker trains")[0][1]
    wait_for(lambda: night.states().get("job-1") == "running", "the ledger knows of it")
    other = Night(tmp_path / "copy", tmp_path / "elsewhere")
    try:
        shutil.copytree(night.home.root, other.home.root, symlinks=True, dirs_exist_ok=True)
        other.start()
        wait_for(lambda: len(other.entries("job-1", "attempt_started")) == 2, "its own attempt")
        other.request("stop", "job-1")
        other.wait_state("job-1", "held")
        assert other.end() == 0
        assert alive(worker)
        assert keeper(night).alive()
        assert len(night.show("job-1")["attempts"]) == 1
    finally:
        other.close()
    assert night.end() == 0


FOUND = """
import json, os, subprocess, sys
from pathlib import Path
from rekindle.daemon.attempts import orphans
from rekindle.state.paths import Run
run, link, other = (Run(Path(name)) for name in sys.argv[1:4])
marks = {"REKINDLE_RUN_DIR": str(run.root), "REKINDLE_JOB": run.id, "REKINDLE_ATTEMPT": "3"}
sleepers = {
    "marked": marks,
    "by a link": {**marks, "REKINDLE_RUN_DIR": str(link.root)},
    "another run": {**marks, "REKINDLE_RUN_DIR": str(other.root), "REKINDLE_JOB": other.id},
    "another home": {**marks, "REKINDLE_RUN_DIR": "/nowhere/runs/" + run.id},
    "one variable, by hand": {"REKINDLE_RUN_DIR": str(run.root)},
}
clean = {k: v for k, v in os.environ.items() if not k.startswith("REKINDLE_")}
started = {name: subprocess.Popen(["sleep", "600"], env={**clean, **env})
           for name, env in sleepers.items()}
found = {one.pid for one in orphans.marked(run)}
print(json.dumps([name for name, child in started.items() if child.pid in found]
                 + ["myself"] * (os.getpid() in found) + ["my parent"] * (os.getppid() in found)))
for child in started.values():
    child.kill()
    child.wait()
"""


def test_only_what_was_started_for_a_run_is_found_as_its_own(tmp_path: Path) -> None:
    """Not a daemon that a job itself has started, nor who set one variable in a shell."""
    for name in ("runs/a-1", "runs/b-1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "runs")
    names = [str(tmp_path / name) for name in ("runs/a-1", "linked/a-1", "runs/b-1")]
    marks = {"REKINDLE_RUN_DIR": names[0], "REKINDLE_JOB": "a-1", "REKINDLE_ATTEMPT": "1"}
    done = subprocess.run(
        ["sh", "-c", '"$0" "$@"; exit', sys.executable, "-c", FOUND, *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(), **marks},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["marked", "by a link"]
