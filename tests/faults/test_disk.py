"""A full or failing disk costs no running training, and everything heals with the space."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nights import Night, result, steps
from rig import environment, wait_for

from rekindle.daemon.attempts import orphans
from rekindle.jobs.journal_writer import Record
from rekindle.state.run import checkpoints, journal, reserve

pytestmark = pytest.mark.faults


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 MiB; a start needs 64."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(where)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted: {mounted.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def fill(disk: Path) -> Path:
    """Takes all space of the disk; removing the file gives it back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(b"b" * size)
            except OSError:
                continue
    return ballast


def test_a_full_disk_stops_no_training_and_starts_none(small: Path, tmp_path: Path) -> None:
    """Checkpoint, journal, ledger and log are on it: the training continues and still prints."""
    night = Night(small / "home", tmp_path / "work")
    night.log = tmp_path / "daemon.log"
    try:
        folder = night.submit(
            "job", args=f"--steps 250 --every 5 --fault chatter@none --wait-for {tmp_path}/go"
        )
        night.start("--slots", "2")
        night.step("job-1", 10)
        ballast = fill(small)
        trained = len(steps(folder))
        night.step("job-1", trained + 15)
        trainer = night.trainer("job-1", 1)
        assert trainer.alive()
        run = night.home.run("job-1")
        committed = checkpoints.scan(run.checkpoints)[0].position.step
        assert committed <= trained + 5
        wait_for(lambda: "disk_full" in night.said(), "the daemon says so")

        ballast.unlink()
        (tmp_path / "go").touch()
        night.wait_state("job-1", "done")
        assert steps(folder) == [(1, step) for step in range(250)]
        assert (folder / "job.result.txt").read_text() == result(250)
        shown = night.show("job-1")
        assert [(a["n"], a["cause"], a["exit_code"]) for a in shown["attempts"]] == [(1, "done", 0)]
        assert "save_failed" in [e["kind"] for e in shown["events"]]
        assert "bytes of output dropped" in run.log(1).read_text(errors="replace")
        kinds = [e["kind"] for e in journal.replay(run.journal).entries]
        assert kinds[-1] in ("attempt_ended", "state_changed", "attempt_changed")
        wait_for(lambda: "disk_has_room" in night.said(), "the daemon says so again")
        assert night.end() == 0
        night.invariants()
    finally:
        night.close()


def test_nothing_starts_while_the_disk_is_full(small: Path, tmp_path: Path) -> None:
    """It waits with its reason, logged once, and starts by itself when there is space."""
    night = Night(small / "home", tmp_path / "work")
    night.log = tmp_path / "daemon.log"
    try:
        ballast = small / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 50 * 2**20)
        night.submit("job", args="--steps 5")
        night.start()
        waiting = night.wait_state("job-1", "waiting")
        assert "space on the disk" in waiting["reason"]
        assert night.show("job-1")["attempts"] == []
        ballast.unlink()
        night.wait_state("job-1", "done")
        kinds = [e["kind"] for e in night.show("job-1")["events"]]
        assert kinds.count("job_waiting") == 1
        assert night.end() == 0
    finally:
        night.close()


def test_lines_of_the_journal_wait_for_space_in_their_order(small: Path) -> None:
    """Nothing is lost, each has the time at which it happened, and no line is torn twice."""
    path = small / "journal.jsonl"
    record = Record(path, 1)
    record.add("first", n=0)
    ballast = fill(small)
    long = "x" * 4000
    for n in range(1, 5):
        record.add("later", n=n, text=long)
    assert not record.write()
    ballast.unlink()
    assert record.write()
    entries = journal.replay(path).entries
    assert [e["n"] for e in entries] == [0, 1, 2, 3, 4]
    assert [e["t"] for e in entries] == sorted(e["t"] for e in entries)
    assert all(e["attempt"] == 1 for e in entries)


def test_a_ledger_that_cannot_be_written_ends_neither_daemon_nor_training(night: Night) -> None:
    """Every write of the ledger fails for a while; then all is in it."""
    folder = night.submit("job", args=f"--steps 40 --wait-for {night.work}/go")
    night.start()
    night.step("job-1", 5)
    wait_for(lambda: night.states().get("job-1") == "running", "it runs")
    blocker = sqlite3.connect(night.home.ledger, isolation_level=None)
    blocker.execute("PRAGMA max_page_count = 1")
    blocker.execute("BEGIN EXCLUSIVE")
    (night.work / "go").touch()
    wait_for(lambda: night.entries("job-1", "attempt_ended"), "the training ends")
    wait_for(lambda: "in_trouble" in night.said(), "the daemon says so", 40)
    assert night.daemon is not None
    assert night.daemon.poll() is None
    blocker.execute("ROLLBACK")
    blocker.close()
    night.wait_state("job-1", "done")
    assert steps(folder) == [(1, step) for step in range(40)]
    assert night.end() == 0


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_errors_of_the_disk_are_lived_through(night: Night, call: str) -> None:
    """EIO from every other flush of daemon, keeper and trainer for a while; then all heals."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (apt: strace)")
    folder = night.submit("job", args=f"--steps 60 --every 4 --wait-for {night.work}/go")
    daemon = night.start("--slots", "2")
    night.step("job-1", 5)
    started = night.entries("job-1", "attempt_started")[0]
    pids = [daemon.pid, started["keeper_pid"], started["trainer_pid"]]
    report = night.work / "strace.txt"
    tracer = subprocess.Popen(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            str(report),
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:error=EIO:when=1+2",
            *(w for p in pids for w in ("-p", str(p))),
        ]
    )
    try:
        night.submit("late", args="--steps 20 --every 4")
        night.step("job-1", len(steps(folder)) + 20)
        wait_for(lambda: report.read_text().count("INJECTED") >= 3, "errors are injected")
        assert daemon.poll() is None
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
    (night.work / "go").touch()
    night.wait_state("job-1", "done")
    night.wait_state("late-1", "done")
    assert night.end() == 0
    assert steps(folder) == [(1, step) for step in range(60)]
    assert (folder / "job.result.txt").read_text() == result(60)
    assert (night.work / "late" / "late.result.txt").read_text() == result(20)
    night.invariants()


def fill_journal(night: Night, job: str) -> None:
    """Takes the rest of the page that the journal has already."""
    with night.home.run(job).journal.open("ab") as file:
        file.write(b"\n" * (-file.tell() % os.sysconf("SC_PAGESIZE")))


def test_a_full_disk_at_the_end_keeps_the_exit_status(small: Path, tmp_path: Path) -> None:
    """The end of the trainer is written into the space that was taken for it at the start."""
    night = Night(small / "home", tmp_path / "work")
    night.log = tmp_path / "daemon.log"
    try:
        night.submit("job", args=f"--steps 20 --wait-for {tmp_path}/go")
        night.start()
        night.step("job-1", 15)
        run = night.home.run("job-1")
        night.end(signal.SIGKILL)
        ballast = fill(small)
        fill_journal(night, "job-1")
        (tmp_path / "go").touch()
        wait_for(lambda: orphans.of(run) == [], "the keeper ends")
        assert night.entries("job-1", "attempt_ended") == []
        assert [
            e["exit_code"] for e in reserve.read(run.reserve) if e["kind"] == "attempt_ended"
        ] == [0]
        ballast.unlink()
        night.until_idle()
        assert [a["exit_code"] for a in night.show("job-1")["attempts"]] == [0]
        assert len(night.entries("job-1", "attempt_ended")) == 1
        assert not run.reserve.exists()
    finally:
        night.close()


def test_a_full_disk_does_not_keep_the_daemon_from_ending(small: Path, tmp_path: Path) -> None:
    """All end at SIGTERM, and how is known afterwards."""
    night = Night(small / "home", tmp_path / "work")
    night.log = tmp_path / "daemon.log"
    try:
        night.drop(
            'name = "c"\nworkdir = "/tmp"\ncommand = ["sh", "-c", "trap \'exit 75\' TERM; '
            'while :; do sleep 0.2; done"]\n',
            "c.toml",
        )
        night.start()
        night.wait_state("c-1", "running")
        ballast = fill(small)
        fill_journal(night, "c-1")
        assert night.end(seconds=60) == 0, night.said()
        assert orphans.of(night.home.run("c-1")) == []
        ballast.unlink()
        night.start()
        wait_for(
            lambda: [e["cause"] for e in night.entries("c-1", "attempt_ended")] == ["preempted"],
            "the end is in the journal",
        )
        night.request("cancel", "c-1")
        night.wait_state("c-1", "cancelled")
        first = night.show("c-1")["attempts"][0]
        assert (first["cause"], first["exit_code"]) == ("preempted", 75)
        assert night.end() == 0
    finally:
        night.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_start_on_a_full_disk_waits_and_prune_makes_room(
    small: Path, tmp_path: Path, killed: bool
) -> None:
    """Unitech/pm2#2161: a daemon that ends there is down in the morning."""
    night = Night(small / "home", tmp_path / "work")
    night.log = tmp_path / "daemon.log"
    try:
        night.submit("job", args="--steps 40 --every 5")
        night.start()
        night.wait_state("job-1", "done")
        night.end(signal.SIGKILL if killed else signal.SIGTERM)
        assert killed == night.home.ledger.with_name("ledger.db-wal").exists()
        shelf = night.home.run("job-1").quarantine / "e0001-s00000001"
        shelf.mkdir(parents=True)
        (shelf / "state").write_bytes(bytes(2**21))
        ballast = fill(small)

        daemon = night.start()
        wait_for(
            lambda: "start_waits_for_space" in night.said() or "service_in_trouble" in night.said(),
            "it says so",
        )
        assert night.watchdog is not None
        wait_for(lambda: night.watchdog and night.watchdog.heard.times("WATCHDOG=1"), "it pings")
        assert daemon.poll() is None
        assert [row["state"] for row in night.ls()] == ["done"]
        assert "freed" in night.cli("prune", "--yes")
        assert not shelf.exists()
        wait_for(lambda: "daemon_started" in night.said().rpartition("start_waits")[2], "it starts")
        ballast.unlink()
        night.submit("later", args="--steps 5")
        night.wait_state("later-1", "done")
        assert night.end() == 0
    finally:
        night.close()


def test_a_log_on_the_full_disk_ends_no_daemon(small: Path, tmp_path: Path) -> None:
    """Afterwards the log says how many lines could not be written."""
    night = Night(small / "home", tmp_path / "work")
    night.log = small / "daemon.log"
    try:
        folder = night.submit("job", args=f"--steps 60 --wait-for {tmp_path}/go")
        night.start()
        night.step("job-1", 5)
        ballast = fill(small)
        with night.log.open("ab", buffering=0) as log, contextlib.suppress(OSError):
            log.write(b"\n" * os.sysconf("SC_PAGESIZE"))
        assert night.daemon is not None
        night.daemon.send_signal(signal.SIGUSR2)  # a machine that goes away: it says so and saves
        wait_for(
            lambda: len(steps(folder)) and orphans.of(night.home.run("job-1")) == [],
            "the training ends",
        )
        assert night.daemon.poll() is None
        ballast.unlink()
        (tmp_path / "go").touch()
        wait_for(lambda: "lines of this log could not be written" in night.said(), "it says so")
        assert night.end() == 0
    finally:
        night.close()


@pytest.mark.parametrize("reader", ["gone", "deaf"])
def test_a_log_that_nobody_reads_ends_and_stops_no_daemon(night: Night, reader: str) -> None:
    """A pipe whose reader has ended, or does not read."""
    ours, theirs = os.pipe()
    if reader == "deaf":
        os.set_blocking(theirs, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(theirs, b"x" * 4096)
        os.set_blocking(theirs, True)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(night.home.root), "run"],
        stdout=theirs,
        stderr=theirs,
        env=environment(),
    )
    night.daemon = daemon
    os.close(theirs)
    wait_for(night.home.daemon_status.exists, "it is up")
    if reader == "gone":
        os.close(ours)
    night.submit("good", args="--steps 5")
    night.wait_state("good-1", "done")
    assert night.end() == 0
    if reader == "deaf":
        os.close(ours)
