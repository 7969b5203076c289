"""A file is taken when it is complete, however it arrives and whatever its times say."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, environment, wait_for

from rekindle.daemon.intake import settling, writers
from rekindle.daemon.intake.settling import Arrival, Settling, complete

HALF = b'command = ["true"]\nworkdir = "/"\n'
REST = b'[limits]\nmax_runtime = "1h"\n'
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


class Looks:
    """Look at files of one folder as successive scans do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settling = Settling(folder)
        self._settling.begin()

    def complete(self, now: float, name: str = "a.toml") -> bool:
        path = self._folder / name
        self._settling.begin()
        return self._settling.is_complete(path, path.lstat(), now)

    def close(self) -> None:
        self._settling.close()


@pytest.fixture
def looks(inbox: Path) -> Iterator[Looks]:
    made = Looks(inbox)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("arrival", "still", "written", "empty", "expected"),
    [
        (Arrival.RENAMED, 0.0, False, False, True),
        (Arrival.RENAMED, 0.0, None, False, True),
        (Arrival.RENAMED, 99.0, True, False, False),  # renamed under a living writer
        (Arrival.CLOSED, 1.9, False, False, False),
        (Arrival.CLOSED, 2.0, None, False, True),
        (Arrival.CLOSED, 99.0, True, False, False),  # a second writer
        (Arrival.OPEN, 99.0, None, False, False),  # a writer of another user, not to be seen
        (Arrival.OPEN, 2.0, False, False, True),  # changed by truncate(2), which closes nothing
        (Arrival.CREATED, 99.0, None, True, False),  # nothing written yet, over a slow link
        (Arrival.CREATED, 2.0, None, False, True),  # a second name
        (Arrival.UNKNOWN, 1.9, False, False, False),
        (Arrival.UNKNOWN, 2.0, None, False, True),
        (Arrival.UNKNOWN, 99.0, True, False, False),
    ],
)
def test_each_way_to_arrive_has_its_rule(
    arrival: Arrival, still: float, written: bool | None, empty: bool, expected: bool
) -> None:
    assert complete(arrival, still=still, written=written, empty=empty) is expected


@pytest.mark.parametrize("source", ["outside", "inbox/.a.toml.Ab12Cd", "over a part"])
def test_a_renamed_file_is_complete_at_once(inbox: Path, looks: Looks, source: str) -> None:
    """From another folder, from rsync's temporary name, and in place of a half written file."""
    if source == "over a part":
        (inbox / "a.toml").write_bytes(HALF)
        assert not looks.complete(0.0)
        source = "outside"
    made = inbox.parent / source
    made.write_bytes(HALF + REST)
    os.rename(made, inbox / "a.toml")
    assert looks.complete(0.0)


def test_a_writer_that_pauses_is_waited_for(inbox: Path, looks: Looks) -> None:
    """As scp and `rsync --inplace` over a slow link: a sound half, a pause, the rest.

    Kind of source: reports of a watched folder whose events come when writing begins.
    """
    with (inbox / "a.toml").open("wb", buffering=0) as file:
        assert not looks.complete(0.0)
        assert not looks.complete(1000.0)  # opened, nothing is written yet
        file.write(HALF)
        assert not looks.complete(2000.0)
        assert not looks.complete(3000.0)
        file.write(REST)
    assert not looks.complete(4000.0)
    assert not looks.complete(4001.9)
    assert looks.complete(4002.0)


def test_a_rename_over_sftp_is_taken(inbox: Path, looks: Looks) -> None:
    """The server gives the finished file a second name and removes the first: no rename is seen.

    Kind of source: a report that a sync client missed files that WinSCP uploaded.
    """
    part = inbox / "a.toml.filepart"
    part.write_bytes(HALF + REST)
    os.link(part, inbox / "a.toml")
    assert not looks.complete(0.0)
    part.unlink()
    assert not looks.complete(1.9)
    assert looks.complete(4.0)
    assert (inbox / "a.toml").stat().st_nlink == 1


def test_a_file_that_is_written_in_two_goes_is_taken_whole(inbox: Path, looks: Looks) -> None:
    """Two commands of a shell script, `>` and `>>`, less than two seconds apart.

    Kind of source: reports that a program was called at a close that was not the last one.
    """
    path = inbox / "a.toml"
    path.write_bytes(HALF)
    assert not looks.complete(0.0)
    assert not looks.complete(1.9)
    with path.open("ab") as file:
        file.write(REST)
    assert not looks.complete(2.1)
    assert looks.complete(4.2)


@pytest.mark.parametrize("seconds", [-86400 * 365, 86400 * 365])
def test_what_the_mtime_says_does_not_matter(inbox: Path, looks: Looks, seconds: int) -> None:
    """`cp -p`, `rsync -t` and a clock that was set set it to any time, also in mid-writing."""
    path = inbox / "a.toml"
    with path.open("wb", buffering=0) as file:
        file.write(HALF)
        then = path.stat().st_mtime + seconds
        os.utime(path, (then, then))
        assert not looks.complete(0.0)
        assert not looks.complete(1000.0)
        file.write(REST)
    os.utime(path, (then, then))
    assert not looks.complete(2000.0)
    assert looks.complete(2002.0)


def writer(path: Path) -> "subprocess.Popen[bytes]":
    """Start a process that appends nothing, and holds a file open until its input ends."""
    code = "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
    made = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert made.stdout is not None
    assert made.stdout.readline()
    return made


def test_without_events_a_visible_writer_is_waited_for(inbox: Path) -> None:
    """After a restart: no event says how the file arrived, and a process has it open."""
    path = inbox / "a.toml"
    path.write_bytes(HALF)
    process = writer(path)
    looks = Looks(inbox)
    try:
        assert not looks.complete(0.0)
        assert not looks.complete(1000.0)
        assert str(writers.holder(path)).startswith(f"process {process.pid} (")
        process.communicate()
        assert looks.complete(1000.0)
    finally:
        process.kill()
        process.communicate()
        looks.close()


def test_without_events_a_file_must_have_been_still(inbox: Path) -> None:
    """A closed file, also one that was renamed in before the daemon looked."""
    (inbox / "a.toml").write_bytes(HALF)
    looks = Looks(inbox)
    assert not looks.complete(0.0)
    assert not looks.complete(1.9)
    assert looks.complete(2.0)
    looks.close()


def test_what_submit_left_for_a_later_daemon_is_complete_at_once(inbox: Path) -> None:
    """Its mark has the digest of the content; an edit makes it a file like any other."""
    path = inbox / "a.toml"
    path.write_bytes(HALF)
    settling.mark(path, HALF)
    try:
        os.getxattr(path, "user.rekindle.sha256")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    looks = Looks(inbox)
    assert looks.complete(0.0)
    path.write_bytes(HALF + REST)
    looks.close()
    looks = Looks(inbox)
    assert not looks.complete(10.0)
    assert looks.complete(12.0)
    looks.close()


def test_a_name_that_passed_to_another_file_is_looked_at_again(inbox: Path) -> None:
    """The event of the first must not speak for the second, which is half written."""
    made = inbox.parent / "outside"
    made.write_bytes(HALF + REST)
    path = inbox / "a.toml"
    following = Settling(inbox)
    following.begin()
    os.rename(made, path)
    following.begin()
    os.rename(path, made)
    path.write_bytes(HALF)
    assert not following.is_complete(path, path.lstat(), 0.0)
    following.begin()
    assert not following.is_complete(path, path.lstat(), 1.9)
    following.close()


def test_a_folder_that_was_replaced_is_followed_again(inbox: Path, looks: Looks) -> None:
    """Events of the old folder do not count."""
    os.rename(outside_file(inbox), inbox / "a.toml")
    assert looks.complete(0.0)
    shutil.rmtree(inbox)
    inbox.mkdir()
    (inbox / "a.toml").write_bytes(HALF)
    assert not looks.complete(1.0)
    os.rename(outside_file(inbox), inbox / "b.toml")
    assert looks.complete(1.0, "b.toml")


def outside_file(inbox: Path) -> Path:
    made = inbox.parent / "outside"
    made.write_bytes(HALF)
    return made


HIDDEN = """
import pathlib, sys
from rekindle.daemon.intake import writers
print(writers.is_open_for_writing(pathlib.Path(sys.argv[1])))
"""


@ROOT_ONLY
@pytest.mark.parametrize(("owner", "expected"), [(0, "None"), (54321, "True")])
def test_a_writer_of_another_user_is_hidden_only_behind_that_users_file(
    inbox: Path, owner: int, expected: str
) -> None:
    """The kernel knows every writer of the daemon's own files; of others' only its events do."""
    path = inbox / "a.toml"
    path.write_bytes(HALF)
    os.chown(path, owner, owner)
    path.chmod(0o644)
    process = writer(path)
    try:
        as_user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
        power = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        done = subprocess.run(
            [*as_user, *power, sys.executable, "-c", HIDDEN, str(path)],
            capture_output=True,
            text=True,
            env=environment(),
            cwd="/",
            timeout=60,
        )
        assert done.stdout.strip() == expected, done.stderr
    finally:
        process.communicate()


@pytest.mark.slow  # pauses of seconds
def test_the_daemon_takes_a_spec_that_was_written_with_a_pause_whole(rig: Rig) -> None:
    """One before it starts and one under it; a renamed one beside them is not delayed by them."""
    inbox = rig.home.inbox
    early = (inbox / "early.toml").open("wb", buffering=0)
    early.write(HALF)
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    late = (inbox / "late.toml").open("wb", buffering=0)
    late.write(HALF)
    (inbox / "closed.toml").write_bytes(HALF)
    rig.drop(HALF.decode(), "quick.toml")
    rig.wait_state("quick-1", "done")
    # written last and taken after it has been still: so the two were still for as long
    rig.wait_state("closed-1", "done")
    assert [job["id"] for job in rig.ls()] == ["quick-1", "closed-1"]
    for file in (early, late):
        file.write(REST)
        file.close()
    for job in ("early-1", "late-1"):
        rig.wait_state(job, "done")
        assert rig.show(job)["spec"]["limits"]["max_runtime"] == 3600.0
    assert rig.end() == 0
