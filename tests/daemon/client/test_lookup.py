"""A verb finds the home of a live daemon, the user's own or the service's, and says which.

Kinds of source: users of per-user job daemons who submit to a daemon that nobody runs, since the
client looks at another socket or folder than the service.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, environment, wait_for

from rekindle.daemon import daemon_status, service_record
from rekindle.daemon.client import lookup
from rekindle.daemon.service_record import Served
from rekindle.jobs import process
from rekindle.jobs.environment import RUNTIME_DIRECTORY
from rekindle.state.errors import HomeClosed
from rekindle.state.paths import Home

OWN, THEIRS = Home(Path("/own")), Home(Path("/"))


def served(*, alive: bool = True, own: bool = False, problem: str = "") -> Served:
    return Served(Path("/run/rekindle/daemon.json"), THEIRS, alive, own, problem)


@pytest.mark.parametrize(
    ("record", "own_lives", "own_is_used", "closed", "expected", "said"),
    [
        (served(), False, False, False, THEIRS, "Using the service's home /."),
        (served(own=True), False, False, False, THEIRS, "Using your service's home /."),
        (served(), False, True, False, THEIRS, "your own home /own has no daemon"),
        (served(alive=False), False, False, False, THEIRS, "its daemon is not running now"),
        (served(), True, True, False, OWN, "Using your own home /own; the service's is /."),
        (served(), True, True, True, OWN, "Using your own home /own"),
        (served(), False, True, True, OWN, "You may not use the service's, /"),
        (served(problem="it is old"), False, False, False, OWN, "is ignored: it is old"),
    ],
)
def test_the_table_of_homes(
    record: Served, own_lives: bool, own_is_used: bool, closed: bool, expected: Home, said: str
) -> None:
    """Each row of the table in docs/operations.md."""
    choice = lookup.decide(OWN, record, own_lives=own_lives, own_is_used=own_is_used, closed=closed)
    assert (choice.home, said in choice.note) == (expected, True), choice


def test_a_closed_service_is_an_error_for_a_user_without_a_home() -> None:
    """No private home is made that nobody serves; the hint has the way on."""
    with pytest.raises(HomeClosed, match="may not use") as refused:
        lookup.decide(OWN, served(), own_lives=False, own_is_used=False, closed=True)
    assert "rekindle run" in refused.value.hint


def test_the_own_home_as_that_of_the_service_needs_no_word() -> None:
    assert not lookup.decide(
        THEIRS, served(own=True), own_lives=True, own_is_used=True, closed=False
    ).note


class Host:
    """A service's home beside a user's own, found through a record."""

    def __init__(self, folder: Path) -> None:
        self.record = folder / "run"
        self.record.mkdir()
        self.user = folder / "user"
        self.user.mkdir()
        self.rig = Rig(folder / "service")

    def start(self) -> None:
        """Start the daemon as systemd does: its pid in SYSTEMD_EXEC_PID."""
        self.rig.start_in(
            "sh",
            "-c",
            'SYSTEMD_EXEC_PID=$$ exec "$0" "$@"',
            RUNTIME_DIRECTORY=str(self.record),
            XDG_STATE_HOME=str(self.user),
        )
        wait_for((self.record / "daemon.json").exists, "the record is written")

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a verb as a user without a word about homes in the environment."""
        return subprocess.run(
            [sys.executable, "-m", "rekindle.daemon", *words],
            env=environment(
                **{RUNTIME_DIRECTORY: str(self.record), "XDG_STATE_HOME": str(self.user)}
            ),
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.rig.close()


def test_a_verb_uses_the_home_of_the_service_and_says_so(host: Host, tmp_path: Path) -> None:
    """Also over a daemon that was killed; another boot's record is not followed."""
    host.start()
    spec = tmp_path / "it.toml"
    spec.write_text(f'command = ["true"]\nworkdir = "{tmp_path}"\n')
    done = host.run("submit", str(spec))
    assert done.returncode == 0, done.stderr
    assert "it-1 is accepted" in done.stdout
    assert done.stderr == f"rekindle: Using the service's home {host.rig.home.root}.\n"
    assert not list(host.user.iterdir()), "a private home was made"
    assert oct((host.record / "daemon.json").stat().st_mode & 0o777) == "0o644"

    assert host.rig.daemon is not None
    host.rig.daemon.kill()
    host.rig.daemon.wait()
    listed = host.run("ls", "--json")
    assert json.loads(listed.stdout)["home"] == str(host.rig.home.root)
    assert "its daemon is not running now" in listed.stderr

    record = host.record / "daemon.json"
    # of a daemon of an earlier boot
    earlier = {**json.loads(record.read_text()), "boot_id": "another", "pid": 4_000_000}
    earlier["started"] -= time.clock_gettime(time.CLOCK_BOOTTIME) + 60
    record.write_text(json.dumps(earlier))
    stale = host.run("submit", str(spec))
    assert stale.returncode == 1
    assert "is ignored: it was written before the last boot" in stale.stderr
    assert not list(host.user.iterdir())


def test_a_live_daemon_of_the_user_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--home, REKINDLE_HOME, own live daemon, service: the first that holds is used."""
    record = tmp_path / "run"
    own, service = Home(tmp_path / "state" / "rekindle"), Home(tmp_path / "service")
    for one in (own, service):
        one.create()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(record))
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getpid()))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv(RUNTIME_DIRECTORY, str(record))
    monkeypatch.delenv("REKINDLE_HOME", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert lookup.choose(None) == lookup.Choice(own)
    record.mkdir()
    service_record.publish(service, "1")
    assert lookup.choose(None).home == service
    daemon_status.announce(own, "1")
    assert lookup.choose(None).home == own
    monkeypatch.setenv("REKINDLE_HOME", str(service.root))
    assert lookup.choose(None) == lookup.Choice(service)
    assert lookup.choose(str(tmp_path)) == lookup.Choice(Home(tmp_path))


def test_a_daemon_within_a_job_does_not_replace_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job inherits RUNTIME_DIRECTORY of the service that runs it."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getppid()))
    service_record.publish(Home(tmp_path / "home"), "1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"home": 3, "pid": 1, "start": 1, "boot_id": ""}', '{"home": "relative"}'],
)
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "daemon.json").write_text(text)
    assert service_record.find({RUNTIME_DIRECTORY: str(tmp_path)}) is None


def test_a_moved_home_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record names a folder that is gone: the problem is named."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getpid()))
    service_record.publish(Home(tmp_path / "gone"), "1")
    found = service_record.find({RUNTIME_DIRECTORY: str(tmp_path)})
    assert found is not None
    assert found.problem == "that folder does not exist"


def test_a_daemon_that_proc_hides_counts_as_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hidepid=2`: /proc has no entry of another user's process, the kernel answers EPERM."""
    now = time.time()
    who = process.Identity(4_000_000, 1, process.boot_id())

    def kill(pid: int, signum: int) -> None:
        assert (pid, signum) == (4_000_000, 0)
        raise PermissionError

    assert not daemon_status.is_alive(who, now)
    monkeypatch.setattr(os, "kill", kill)
    assert daemon_status.is_alive(who, now)
    assert not daemon_status.is_alive(process.Identity(4_000_000, 1, "another boot"), now)


def test_another_boot_id_in_a_container_hides_no_daemon() -> None:
    """A sandboxed service may see another boot id than a shell beside it."""
    me = process.Identity.of(os.getpid())
    assert me is not None
    seen = process.Identity(me.pid, me.start, "as the service sees it")
    assert daemon_status.is_alive(seen, time.time())
    # recorded in an earlier boot, in which another daemon had this pid and start
    assert not daemon_status.is_alive(seen, time.time() - 1e6)
    assert not daemon_status.is_alive(dataclasses.replace(seen, start=me.start + 1), time.time())
