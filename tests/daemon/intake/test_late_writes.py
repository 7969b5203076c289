"""A write to an accepted spec holds the job or is reported, and nothing of it is lost."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.daemon.intake.inbox import Inbox
from rekindle.daemon.intake.late_writes import describe
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

GOOD = b'command = ["true"]\nworkdir = "/"\n'
REST = b'[limits]\nmax_runtime = "1h"\n'


class Desk:
    """An inbox whose files are written to between claim and acceptance."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ledger = Ledger.open(home.ledger)
        self.writer: int | None = None
        self._began = time.monotonic()
        self.inbox = Inbox(home, self.ledger, crash_point=self._reached)

    def accept(self, *, open_before_claim: bool = False) -> None:
        """Accept a.toml; a descriptor that is opened as it is claimed stays open."""
        path = self.home.inbox / "a.toml"
        path.write_bytes(GOOD)
        self._open = open_before_claim
        self.inbox.scan(0.0)
        assert self.inbox.scan(10.0).accepted == ["a-1"]

    def look(self, seconds: float) -> None:
        """Let a tick pass, some seconds after the beginning of the test."""
        self.inbox.check_accepted(self._began + seconds)

    def write(self, data: bytes) -> None:
        assert self.writer is not None
        os.write(self.writer, data)

    def end_write(self) -> None:
        assert self.writer is not None
        os.close(self.writer)
        self.writer = None

    def job(self) -> JobRow:
        row = self.ledger.job("a-1")
        assert row is not None
        return row

    def events(self) -> list[dict[str, object]]:
        return [e.data for e in self.ledger.events("a-1") if e.kind == "spec_changed"]

    def _reached(self, point: str) -> None:
        # between the last look at the file and its rename: nothing else can leave a writer
        if point == "before_claim" and self._open:
            name = "z.toml" if (self.home.inbox / "z.toml").exists() else "a.toml"
            self.writer = os.open(self.home.inbox / name, os.O_WRONLY | os.O_APPEND)

    def close(self) -> None:
        if self.writer is not None:
            self.end_write()
        self.inbox.close()
        self.ledger.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    home = Home(tmp_path / "home")
    home.create()
    made = Desk(home)
    yield made
    made.close()


def test_a_file_that_nobody_has_open_is_removed_when_it_is_accepted(desk: Desk) -> None:
    desk.accept()
    assert [*desk.home.claimed.iterdir()] == []


def test_a_write_before_the_first_start_holds_the_job(desk: Desk) -> None:
    """At once, with what differs in the end; the changed file is kept beside its reason."""
    desk.accept(open_before_claim=True)
    desk.look(31.0)
    assert desk.job().state == JobState.QUEUED
    desk.write(REST[:10])
    desk.look(31.1)
    assert desk.job().state == JobState.HELD, "before the writer has ended"
    desk.write(REST[10:])
    desk.look(32.0)
    desk.end_write()
    desk.look(32.5)
    desk.look(40.0)
    job = desk.job()
    assert job.state == JobState.HELD
    assert f"{len(GOOD)} bytes then, {len(GOOD + REST)} now" in job.reason
    assert "other values: limits.max_runtime." in job.reason
    assert "`rekindle release a-1`" in job.hint
    assert str(desk.home.rejected / "a.toml") in job.hint
    assert (desk.home.rejected / "a.toml").read_bytes() == GOOD + REST
    assert "limits.max_runtime" in (desk.home.rejected / "a.toml.error.txt").read_text()
    assert desk.home.run("a-1").spec_copy(".toml").read_bytes() == GOOD
    assert [*desk.home.claimed.iterdir()] == []


def test_a_write_after_the_start_is_reported(desk: Desk) -> None:
    """The job continues; event and file say what it does not follow."""
    desk.accept(open_before_claim=True)
    desk.ledger.begin_attempt("a-1", 1, 0.0, None)
    desk.ledger.set_state("a-1", JobState.STARTING, "", now=0.0)
    desk.write(REST)
    desk.end_write()
    desk.look(31.0)
    desk.look(40.0)
    assert desk.job().state == JobState.STARTING
    assert "limits.max_runtime" in str(desk.events()[-1]["reason"])
    assert (desk.home.rejected / "a.toml").read_bytes() == GOOD + REST


def test_an_attempt_that_could_not_be_started_is_no_start(desk: Desk) -> None:
    """The job waits for its first start as before, and is held."""
    desk.accept(open_before_claim=True)
    desk.ledger.begin_attempt("a-1", 1, 0.0, None)
    desk.ledger.set_state("a-1", JobState.STARTING, "", now=0.0)
    desk.ledger.update_attempt("a-1", 1, outcome="not started")
    desk.ledger.set_state("a-1", JobState.WAITING, "", now=0.0)
    desk.write(REST)
    desk.look(31.0)
    assert desk.job().state == JobState.HELD


def test_a_writer_that_writes_nothing_changes_nothing(desk: Desk) -> None:
    desk.accept(open_before_claim=True)
    desk.look(31.0)
    assert len([*desk.home.claimed.iterdir()]) == 1
    desk.end_write()
    desk.look(40.0)
    assert [*desk.home.claimed.iterdir()] == []
    assert (desk.job().state, desk.events()) == (JobState.QUEUED, [])


def test_a_write_while_no_daemon_runs_is_found_by_the_next_one(desk: Desk) -> None:
    desk.accept(open_before_claim=True)
    desk.inbox.close()
    desk.write(REST)
    desk.end_write()
    desk.inbox = Inbox(desk.home, desk.ledger)
    desk.inbox.recover()
    desk.look(100.0)
    assert desk.job().state == JobState.HELD
    desk.look(200.0)
    assert "limits.max_runtime" in desk.job().reason
    assert [*desk.home.claimed.iterdir()] == []


def test_a_write_that_never_ends_is_reported_after_a_minute(desk: Desk) -> None:
    """The file is moved under its writer, so that no byte is lost."""
    desk.accept(open_before_claim=True)
    desk.write(REST)
    desk.look(31.0)
    desk.look(50.0)
    assert not (desk.home.rejected / "a.toml").exists()
    desk.look(100.0)
    desk.write(b"# more\n")
    assert (desk.home.rejected / "a.toml").read_bytes() == GOOD + REST + b"# more\n"


def test_a_job_that_a_person_released_is_not_held_again(desk: Desk) -> None:
    desk.accept(open_before_claim=True)
    desk.write(REST)
    desk.look(31.0)
    desk.ledger.set_state("a-1", JobState.QUEUED, "It was released on request.", now=0.0)
    desk.write(b"# more\n")
    desk.end_write()
    desk.look(32.0)
    desk.look(40.0)
    assert desk.job().state == JobState.QUEUED
    assert len(desk.events()) == 2


def test_a_changed_file_that_cannot_be_moved_delays_no_other(desk: Desk) -> None:
    """The first of two is tried again at every look; the second is still looked at."""
    desk.accept(open_before_claim=True)
    desk.write(REST)
    desk.end_write()
    (desk.home.inbox / "z.toml").write_bytes(GOOD)
    desk.inbox.scan(0.0)
    assert desk.inbox.scan(10.0).accepted == ["z-1"]
    assert desk.writer is not None
    desk.write(REST)
    shutil.rmtree(desk.home.rejected)
    desk.home.rejected.write_text("a file in its place")
    for seconds in (31.0, 40.0, 50.0):
        desk.look(seconds)
    held = desk.ledger.job("z-1")
    assert held is not None
    assert held.state == JobState.HELD
    desk.home.rejected.unlink()
    desk.end_write()
    for seconds in (60.0, 70.0):
        desk.look(seconds)
    assert [*desk.home.claimed.iterdir()] == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (GOOD + b"seed = 1\nname = 'b'\n", "other values: seed, name."),
        (b'workdir = "/"\n', "other values: command."),
        (GOOD + b"# a comment\n", "no key has another value."),
        (GOOD[:20], "it is not a valid spec now."),
        (None, "it cannot be read as a spec now."),
    ],
)
def test_the_keys_that_differ_are_named(now: bytes | None, expected: str) -> None:
    assert describe("a.toml", GOOD, now, 9).endswith(f"9 now; {expected}")


def test_a_file_renamed_in_under_its_writer_is_waited_for_by_the_daemon(rig: Rig) -> None:
    """`mv` while scp still writes: nothing is accepted before the writer has closed it."""
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    outside = rig.home.root / "outside"
    with outside.open("wb", buffering=0) as file:
        file.write(GOOD)
        os.rename(outside, rig.home.inbox / "a.toml")
        rig.drop(GOOD.decode(), "b.toml")
        rig.wait_state("b-1", "done")
        assert [job["id"] for job in rig.ls()] == ["b-1"]
        file.write(REST)
    rig.wait_state("a-1", "done")
    assert rig.show("a-1")["spec"]["limits"]["max_runtime"] == 3600.0
    assert rig.end() == 0
