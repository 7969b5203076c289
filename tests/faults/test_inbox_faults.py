"""Missing disk space, permissions or events delay specs, lose none, and are reported."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import Rig, environment, wait_for
from test_disk import fill

from rekindle.daemon.intake import requests
from rekindle.jobs.job import Job

pytestmark = [pytest.mark.faults, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
GOOD = 'command = ["true"]\nworkdir = "/"\n'
EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """Undo changes at the end of a test, even after a failure."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Rig]:
    """A rig whose log is not in the home, so that a home in trouble still has one."""
    made = Rig(tmp_path / "home")
    made.log = tmp_path / "daemon.log"
    yield made
    made.close()


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]} is not possible here: {done.stderr.strip()}")


def started(box: Rig) -> None:
    box.start()
    wait_for(box.home.daemon_status.exists, "the daemon is up")


def said(box: Rig, text: str) -> None:
    wait_for(lambda: text in box.log.read_text(), f"the log says {text!r}")


def meanwhile(box: Rig, change: Callable[[], object]) -> None:
    """Makes a change between two instants of the daemon."""
    assert box.daemon is not None
    box.daemon.send_signal(signal.SIGSTOP)
    try:
        change()
    finally:
        box.daemon.send_signal(signal.SIGCONT)


def jobs(box: Rig) -> list[str]:
    return sorted(row["id"] for row in box.ls())


def test_events_that_overflow_cost_no_spec(box: Rig, undo: ExitStack) -> None:
    """The kernel's queue really holds one event; fifty files come while nobody reads it."""
    before = EVENTS.read_text()
    undo.callback(EVENTS.write_text, before)
    try:
        EVENTS.write_text("1")  # holds for watches that begin from now on
    except OSError as error:
        pytest.skip(f"the queue cannot be made short here: {error}")
    started(box)
    EVENTS.write_text(before)
    meanwhile(box, lambda: [box.drop(GOOD, f"job{n:02d}.toml") for n in range(50)])
    said(box, "overflow")
    wait_for(lambda: jobs(box) == [f"job{n:02d}-1" for n in range(50)], "all are accepted")
    assert box.end() == 0


@pytest.mark.parametrize("kind", ["immutable", "read-only mount"])
def test_an_inbox_that_cannot_be_changed_keeps_its_specs(
    box: Rig, undo: ExitStack, kind: str
) -> None:
    """It is logged once, the daemon continues, and takes them when it can."""
    started(box)
    inbox = str(box.home.inbox)

    def lock() -> None:
        box.drop(GOOD, "a.toml")
        if kind == "immutable":
            run("chattr", "+i", inbox)
        else:
            run("mount", "--bind", inbox, inbox)
            undo.callback(subprocess.run, ["umount", "-l", inbox], capture_output=True)
            run("mount", "-o", "remount,ro,bind", inbox)

    if kind == "immutable":
        undo.callback(subprocess.run, ["chattr", "-i", inbox], capture_output=True)

    meanwhile(box, lock)
    said(box, "a.toml stays in the inbox")
    assert jobs(box) == []
    undo.close()
    box.wait_state("a-1", "done")
    assert box.log.read_text().count("a.toml stays in the inbox") == 1
    assert box.end() == 0


def test_files_that_can_never_be_taken_end_no_daemon_and_keep_none_from_ending(
    box: Rig, undo: ExitStack
) -> None:
    """Nobody may rename or remove them: said once each, the request is carried out once."""
    files = [box.home.inbox / "a.toml", box.home.inbox / f"b{requests.SUFFIX}"]
    box.drop(GOOD, files[0].name)
    files[1].write_text('{"format": 1, "verb": "resume"}')
    started(box)
    box.wait_state("a-1", "done")
    wait_for(lambda: not files[1].exists(), "the request is carried out")

    def stuck() -> None:
        for file, text in zip(files, (GOOD, '{"format": 1, "verb": "resume"}'), strict=True):
            file.write_text(text)
            undo.callback(subprocess.run, ["chattr", "-i", str(file)], capture_output=True)
            run("chattr", "+i", str(file))

    meanwhile(box, stuck)
    said(box, "a.toml stays in the inbox: Operation not permitted.")
    said(box, "request_not_removed")
    assert "a.toml (stays: Operation not permitted)" in box.cli("ls")
    assert box.end() == 0
    assert box.start("--until-idle").wait(60) == 0
    log = box.log.read_text()
    assert log.count("a.toml stays in the inbox") == 2, "once by each daemon"
    assert log.count('"event": "request_answered"') == 3, (
        "the first, and the stuck one once by each daemon"
    )
    assert [file.exists() for file in files] == [True, True]


def without_power(box: Rig, group: int | None = None) -> None:
    """Starts a daemon without root's power over files, a member of a group."""
    caps = "-dac_override,-dac_read_search"
    groups = ["--clear-groups"] if group is None else ["--groups", str(group)]
    with box.log.open("ab") as log:
        box.daemon = subprocess.Popen(
            [
                "setpriv",
                *groups,
                f"--bounding-set={caps}",
                f"--inh-caps={caps}",
                sys.executable,
                "-m",
                "rekindle.daemon",
                "--home",
                str(box.home.root),
                "run",
            ],
            stdout=log,
            stderr=log,
            env=environment(),
        )
    wait_for(box.home.daemon_status.exists, "the daemon is up")


def test_a_code_folder_that_cannot_be_read_costs_its_own_spec_alone(
    box: Rig, tmp_path: Path
) -> None:
    """A folder that cannot be listed, and one that cannot be entered; a claim of before a restart,
    the specs and requests of others go on. Where only a folder below is closed, it is named."""
    for name, mode in (("ana", 0o711), ("eve", 0o700)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text("print(1)\n")
        os.chown(folder, 54321, 54321)
        folder.chmod(mode)
        spec = f'script = "{folder}/train.py"\n'
        # the first is met by `recover`, as what an earlier daemon had claimed
        where = box.home.claimed / "1-1--ana.toml" if name == "ana" else box.home.inbox / "eve.toml"
        where.write_text(spec)
    box.drop(GOOD, "ben.toml")
    (tmp_path / "tom" / "part").mkdir(parents=True)
    (tmp_path / "tom" / "train.py").write_text("print(1)\n")
    os.chown(tmp_path / "tom" / "part", 54321, 54321)
    (tmp_path / "tom" / "part").chmod(0o700)
    box.drop(f'script = "{tmp_path}/tom/train.py"\n', "tom.toml")
    requests.write(box.home, "pause", None)
    without_power(box)
    wait_for(lambda: jobs(box) == ["ben-1", "tom-1"], "the sound specs are accepted")
    kept = Job.from_json(box.home.run("tom-1").job_file.read_text()).source
    assert kept is not None
    assert kept.left_out == ["part/: cannot be listed (Permission denied)"]
    wait_for(lambda: not list(box.home.inbox.glob("*.request.json")), "the request is answered")
    for name, why in (("ana", "into the snapshot: Permission denied"), ("eve", "no permission")):
        reason = box.home.rejected / f"{name}.toml.error.txt"
        wait_for(reason.exists, f"the spec of {name} is refused")
        assert why in reason.read_text()
        assert str(tmp_path / name) in reason.read_text()
    # the reason is written before the spec is moved: a refusal may still be under way
    wait_for(lambda: not list(box.home.claimed.iterdir()), "no spec is left claimed")
    assert box.end() == 0


def test_a_member_with_a_closed_umask_is_understood(box: Rig, tmp_path: Path) -> None:
    """Really as another user with umask 077, through the group of the inbox; what he hand-copies
    unreadable is refused, and he can read why."""
    group = 54321
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    for folder in (box.home.inbox, box.home.rejected):
        os.chown(folder, 0, group)
        folder.chmod(0o2770)
    (tmp_path / "mine.toml").write_text(GOOD)
    without_power(box, group)

    def as_member(*command: str) -> str:
        # he may read this checkout, wherever it lies; that gives him no files of his own making
        done = subprocess.run(
            [
                "setpriv",
                "--reuid",
                str(group),
                "--regid",
                str(group),
                "--clear-groups",
                "--inh-caps",
                "+dac_read_search",
                "--ambient-caps",
                "+dac_read_search",
                *command,
            ],
            capture_output=True,
            text=True,
            env=environment(),
            cwd="/",
            umask=0o077,
            timeout=120,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    cli = (sys.executable, "-m", "rekindle.daemon", "--home", str(box.home.root))
    assert "is paused" in as_member(*cli, "pause")
    assert "mine-1 is accepted" in as_member(*cli, "submit", str(tmp_path / "mine.toml"))
    as_member("cp", str(tmp_path / "mine.toml"), str(box.home.inbox / "closed.toml"))
    reason = box.home.rejected / "closed.toml.error.txt"
    wait_for(reason.exists, "the unreadable one is refused")
    assert (reason.stat().st_gid, reason.stat().st_mode & 0o777) == (group, 0o640)
    assert box.end() == 0


def test_folders_of_another_user_stay_and_are_named(box: Rig) -> None:
    """Under the names of a spec and a request: `ls` says why, and no reason lies in `rejected/`."""
    names = ["a.toml", f"b{requests.SUFFIX}"]
    for name in names:
        (box.home.inbox / name).mkdir()
        os.chown(box.home.inbox / name, 54321, 54321)
    without_power(box)
    box.drop(GOOD, "c.toml")
    box.wait_state("c-1", "done")
    for name in names:
        wait_for(lambda name=name: f"{name} (stays: Permission" in box.cli("ls"), "ls says why")
    assert [*box.home.rejected.iterdir()] == []
    assert box.end() == 0
    assert box.start("--until-idle").wait(60) == 0


def test_rights_that_are_missing_are_told_and_found_again(box: Rig, undo: ExitStack) -> None:
    """A daemon without root's power over files; file and inbox belong to somebody else."""
    without_power(box)
    inbox = box.home.inbox
    reason = box.home.rejected / "mine.toml.error.txt"

    def mine() -> None:
        box.drop(GOOD, "mine.toml")
        os.chown(inbox / "mine.toml", 54321, 54321)
        os.chmod(inbox / "mine.toml", 0o600)

    meanwhile(box, mine)
    wait_for(reason.exists, "the unreadable one is refused")
    assert "cannot be read by the daemon" in reason.read_text()

    def foreign() -> None:
        box.drop(GOOD, "a.toml")
        os.chown(inbox, 54321, 54321)
        os.chmod(inbox, 0o755)

    meanwhile(box, foreign)
    said(box, "a.toml stays in the inbox: Permission denied.")
    os.chmod(inbox, 0o700)
    said(box, "The inbox cannot be read: Permission denied.")
    assert jobs(box) == []
    os.chown(inbox, 0, 0)
    box.wait_state("a-1", "done")
    assert box.end() == 0


def test_a_disk_that_is_really_full_holds_specs_and_loses_none(
    tmp_path: Path, undo: ExitStack
) -> None:
    """Twenty are there when the last byte is taken; each is one job once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk))
    undo.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
    box = Rig(disk / "home")
    undo.callback(box.close)
    box.log = tmp_path / "daemon.log"
    started(box)
    ballast: list[Path] = []

    def full() -> None:
        for n in range(20):
            box.drop(GOOD, f"job{n:02d}.toml")
        ballast.append(fill(disk))

    meanwhile(box, full)
    said(box, "Specs cannot be accepted now")
    assert jobs(box) == []
    ballast[0].unlink()
    wait_for(lambda: jobs(box) == [f"job{n:02d}-1" for n in range(20)], "all are accepted")
    # claims are removed once the ledger has their jobs
    wait_for(lambda: not list(box.home.claimed.iterdir()), "no claim is left")
    assert not list(box.home.inbox.glob("*.toml"))
    assert box.end() == 0
