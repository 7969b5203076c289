"""Requests are files: understood or refused with a reason, and carried out in their order."""

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig, environment, wait_for

from rekindle.daemon.handlers.dispatcher import Dispatcher
from rekindle.daemon.intake import requests
from rekindle.daemon.intake.inbox import Inbox
from rekindle.state.errors import UsageError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_what_is_written_is_read(home: Home) -> None:
    """With the further values of the verb; the file is whole from the moment it is seen."""
    path = requests.write(home, "retry", "a-1", from_scratch=True)
    found = requests.read(path)
    assert (found.verb, found.job, found.fields) == ("retry", "a-1", {"from_scratch": True})
    assert path.stat().st_mode & 0o007 == 0
    assert [p for p in home.inbox.iterdir() if p.name.startswith(".")] == []


def test_names_are_in_the_order_of_arrival(home: Home) -> None:
    """`stop` then `release` must not become `release` then `stop`."""
    paths = [requests.write(home, "stop", f"a-{n}") for n in range(20)]
    assert sorted(paths) == paths


def test_an_unknown_verb_is_not_written(home: Home) -> None:
    """Neither by us."""
    with pytest.raises(UsageError):
        requests.write(home, "explode", "a-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stop",
        "[]",
        "null",
        "{}",
        '{"format": 2, "verb": "stop", "job": "a-1"}',
        '{"format": 1, "verb": "stop"}',
        '{"format": 1, "verb": "explode", "job": "a-1"}',
        '{"format": 1, "verb": ["stop"], "job": "a-1"}',
        '{"format": 1, "verb": "stop", "job": 1}',
        "[" * 60_000,
        '{"a":' * 10_000,
        "9" * 60_000,
        "x" * 70_000,
        '"\\ud800"',
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, text: str) -> None:
    """With a ValueError that says why, whatever it is."""
    path = tmp_path / f"1{requests.SUFFIX}"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        requests.read(path)
    assert str(caught.value)


def test_links_fifos_and_folders_are_not_read(tmp_path: Path) -> None:
    """Nor waited for."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name, error in (("fifo", ValueError), ("folder", ValueError), ("link", OSError)):
        with pytest.raises(error):
            requests.read(tmp_path / name)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300)
    | st.fixed_dictionaries(
        {
            "format": st.just(1) | JSON,
            "verb": st.sampled_from(requests.VERBS) | JSON,
            "job": st.text() | JSON,
        }
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    """Nothing but ValueError leaves the parser."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"1{requests.SUFFIX}"
        path.write_bytes(data)
        try:
            found = requests.read(path)
        except ValueError:
            return
        assert found.verb in requests.VERBS
        assert isinstance(found.job, str)


def test_requests_work_while_the_daemon_is_down_and_strange_ones_do_no_harm(
    rig: Rig, tmp_path: Path
) -> None:
    """Each is answered or refused at the next start; a job's id cannot lead out of the home."""
    (tmp_path / "victim").mkdir()
    rig.drop('command = ["true"]\nworkdir = "/"\n', "a.toml")
    for job in ("../../victim", "/etc", "a-1/../../..", "", "a-1\n", "x" * 5000):
        requests.write(rig.home, "cancel", job)
        requests.write(rig.home, "retry", job, from_scratch=True)
    (rig.home.inbox / f"00{requests.SUFFIX}").write_text("{")
    (rig.home.inbox / f"01{requests.SUFFIX}").symlink_to("/etc/passwd")
    os.mkfifo(rig.home.inbox / f"02{requests.SUFFIX}")
    (rig.home.inbox / f"03{requests.SUFFIX}").mkdir()
    bad = rig.home.inbox / f"04{requests.SUFFIX}"
    bad.write_text(json.dumps({"format": 1, "verb": "priority", "job": "a-1", "value": 2**80}))

    assert rig.start("--until-idle").wait(90) == 0

    assert rig.show("a-1")["state"] == "done"
    assert (tmp_path / "victim").is_dir()
    assert not list(rig.home.inbox.glob(f"*{requests.SUFFIX}"))
    for number in range(4):
        assert (rig.home.rejected / f"0{number}{requests.SUFFIX}.error.txt").read_text()


def test_what_cannot_be_carried_out_is_refused_and_holds_up_no_other(rig: Rig) -> None:
    """A run directory that is gone, a job.json that is a folder: the verb exits with code 2 and
    names the reason, and answers for the other jobs of the same call."""
    text = 'command = ["true"]\nworkdir = "/"\n'
    rig.drop(text, "a.toml")
    for name in ("b", "c"):
        rig.drop(f'{text}after = ["never"]\n', f"{name}.toml")
    rig.start()
    rig.wait_state("a-1", "done")
    assert "held" in rig.cli("stop", "b-1")
    shutil.rmtree(rig.home.run("a-1").root)
    rig.home.run("b-1").job_file.unlink()
    rig.home.run("b-1").job_file.mkdir()

    def refused(*words: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(rig.home.root), *words],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=120,
        )
        assert done.returncode == 2, (done.stdout, done.stderr)
        return done.stdout, done.stderr

    said, error = refused("retry", "--from-scratch", "a-1", "c-1")
    assert said.startswith("c-1: It is")
    assert f"No such file or directory: {rig.home.run('a-1').job_file}" in error
    assert "submit the job again" in error
    _, error = refused("release", "--max-runtime", "1h", "b-1")
    assert "Is a directory" in error
    assert rig.cli("priority", "c-1", "5") == "c-1: Its priority is 5.\n"
    assert not list(rig.home.inbox.glob(f"*{requests.SUFFIX}"))
    assert len(list(rig.home.rejected.glob("*.error.txt"))) == 2
    assert rig.end() == 0


def test_a_spec_that_the_daemon_refuses_is_told_by_submit(rig: Rig, tmp_path: Path) -> None:
    """Only the daemon knows its limits; an earlier refusal of the same name changes nothing."""
    (rig.home.root / "rekindle.toml").write_text("[source]\nmax_files = 1\n")
    (rig.home.rejected / "train.toml").write_text("x")
    for name in ("train.py", "model.py"):
        (tmp_path / name).write_text("print(1)\n")
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rekindle.daemon",
            "--home",
            str(rig.home.root),
            "submit",
            str(tmp_path / "train.py"),
        ],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "too large for a snapshot" in done.stderr
    assert str(rig.home.rejected / "train-2.toml") in done.stderr
    assert rig.end() == 0


class Desk(Dispatcher):
    """Stand in for a disk that is full for some requests, and note what was done."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._remaining = {}
        self.full: set[str] = set()
        self.done: list[str] = []
        self.error: Exception = OSError(errno.ENOSPC, "No space left on device")

    def carry_out(self, request: requests.Request) -> str:
        asked = f"{request.verb} {request.job}"
        if asked in self.full:
            raise self.error
        self.done.append(asked)
        return "Done."


def test_a_request_that_failed_for_want_of_space_is_kept_in_its_order(home: Home) -> None:
    """`stop` then `release` of one job stay in order; other jobs do not wait for them."""
    desk = Desk()
    files = [
        requests.write(home, verb, job)
        for verb, job in (("stop", "a-1"), ("stop", "b-1"), ("release", "a-1"), ("release", "b-1"))
    ]
    desk.full = {"stop a-1"}
    refused: list[Path] = []

    def reject(path: Path, what: str, *, hint: str) -> None:
        refused.append(path)

    with pytest.raises(OSError, match="No space"):
        desk.dispatch(files, reject)
    assert desk.done == ["stop b-1", "release b-1"]
    assert [file for file in files if file.exists()] == [files[0], files[2]]
    desk.full.clear()
    desk.dispatch(files, reject)
    assert desk.done[2:] == ["stop a-1", "release a-1"]
    assert (refused, [file for file in files if file.exists()]) == ([], [])


def test_a_locked_ledger_keeps_requests_and_a_mistake_of_ours_refuses_one(home: Home) -> None:
    """A real lock of another connection; then an error of a kind that nobody expected."""
    desk = Desk()
    files = [requests.write(home, "stop", job) for job in ("a-1", "b-1")]
    refused: list[str] = []

    def reject(path: Path, what: str, *, hint: str) -> None:
        refused.append(what)
        path.unlink()

    path = home.root / "some.db"
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as one,
        contextlib.closing(sqlite3.connect(path, timeout=0)) as other,
    ):
        one.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("CREATE TABLE x (y)")
    desk.full, desk.error = {"stop a-1"}, caught.value
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        desk.dispatch(files, reject)
    assert (desk.done, refused, files[0].exists()) == ([], [], True)
    desk.error = AttributeError("a mistake")
    desk.dispatch(files, reject)
    assert desk.done == ["stop b-1"]
    assert len(refused) == 1
    assert "AttributeError: a mistake" in refused[0]


def test_a_request_that_is_being_written_is_waited_for(rig: Rig) -> None:
    """Half a JSON object is no request yet; the whole is one at once, without an event."""
    path = rig.home.inbox / f"1{requests.SUFFIX}"
    ledger = Ledger.open(rig.home.ledger)
    inbox = Inbox(rig.home, ledger)
    with path.open("w") as file:
        file.write('{"format": 1, "verb": ')
        file.flush()
        assert inbox.scan(0.0).requests == []
        assert inbox.scan(1000.0).requests == []
        file.write('"pause"}')
        file.flush()
        assert inbox.scan(1000.0).requests == [path]
    path.write_text('{"format": 1, "verb": ')
    assert inbox.scan(2000.0).requests == []
    assert inbox.scan(2002.0).requests == [path], "what stays half is refused by who reads it"
    inbox.close()
    ledger.close()
